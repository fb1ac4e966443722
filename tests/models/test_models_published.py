"""The sizes of the SNGAN networks: published parameter counts, blocks, kernels and norms."""

import jax
import jax.numpy as jnp
import pytest

from helpers.networks import DIM_Z, parameters, shapes
from snjax import models
from snjax.models import resnet, sngan_cnn


@pytest.mark.parametrize(
    ('architecture', 'image_size', 'width', 'variant', 'count'),
    [
        ('resnet', 32, 256, 'paper', 4_276_739),
        ('resnet', 48, 64, 'paper', 4_878_083),
        ('resnet', 128, 64, 'paper', 32_150_787),
        ('sngan_cnn', 32, 64, 'paper', 3_812_355),
        ('sngan_cnn', 32, 64, 'code', 3_828_739),
    ],
)
def test_generator_has_published_parameter_count(architecture, image_size, width, variant, count):
    gen = models.make_generator(
        architecture=architecture, image_size=image_size, gen_width=width, variant=variant
    )
    assert parameters(gen, jnp.zeros((2, DIM_Z))) == count


@pytest.mark.parametrize('layers', ['SPECTRAL', 'PLAIN'])
@pytest.mark.parametrize(
    ('architecture', 'image_size', 'width', 'variant', 'count'),
    [
        ('resnet', 32, 128, 'paper', 1_053_824),
        ('resnet', 48, 64, 'paper', 10_141_441),
        ('resnet', 128, 64, 'paper', 29_017_857),
        ('sngan_cnn', 32, 64, 'paper', 2_935_873),
        ('sngan_cnn', 48, 64, 'paper', 2_946_113),
        ('sngan_cnn', 32, 64, 'code', 5_860_865),
        ('sngan_cnn', 48, 64, 'code', 5_871_105),
    ],
)
def test_discriminator_has_published_parameter_count(
    architecture, image_size, width, variant, layers, count
):
    dis = models.make_discriminator(
        architecture=architecture,
        image_size=image_size,
        dis_width=width,
        variant=variant,
        layers=getattr(models, layers),
    )
    assert parameters(dis, jnp.zeros((2, image_size, image_size, 3))) == count


def block_outputs(module, x):
    """{'block1': (height, width, channels), ...} of every block, in order."""

    def run(rng):
        is_block = lambda m, _: type(m) in (resnet.UpBlock, resnet.DownBlock)  # noqa: E731
        variables = module.init(rng, x, train=True, capture_intermediates=is_block)
        return variables['intermediates']

    found = jax.eval_shape(run, jax.random.key(0))
    return [found[f'block{i + 1}']['__call__'][0].shape[1:] for i in range(len(found))]


@pytest.mark.parametrize(
    ('image_size', 'bottom', 'first', 'gen', 'dis'),
    [
        (16, 4, 64, [(8, 64), (16, 64)], [(8, 64), (4, 64), (4, 64)]),
        (32, 4, 64, [(8, 64), (16, 64), (32, 64)], [(16, 64), (8, 64), (8, 64), (8, 64)]),
        (
            48,
            6,
            512,
            [(12, 256), (24, 128), (48, 64)],
            [(24, 64), (12, 128), (6, 256), (3, 512), (3, 1024)],
        ),
        (
            64,
            4,
            1024,
            [(8, 512), (16, 256), (32, 128), (64, 64)],
            [(32, 64), (16, 128), (8, 256), (4, 512), (2, 1024)],
        ),
        (
            96,
            6,
            1024,
            [(12, 512), (24, 256), (48, 128), (96, 64)],
            [(48, 64), (24, 128), (12, 256), (6, 512), (3, 1024), (3, 1024)],
        ),
        (
            128,
            4,
            1024,
            [(8, 1024), (16, 512), (32, 256), (64, 128), (128, 64)],
            [(64, 64), (32, 128), (16, 256), (8, 512), (4, 1024), (4, 1024)],
        ),
        (
            256,
            4,
            1024,
            [(8, 1024), (16, 512), (32, 512), (64, 256), (128, 128), (256, 64)],
            [(128, 64), (64, 128), (32, 256), (16, 512), (8, 512), (4, 1024), (4, 1024)],
        ),
    ],
)
def test_resnet_blocks_have_the_published_sizes(image_size, bottom, first, gen, dis):
    generator = resnet.ResNetGenerator(image_size=image_size, width=64)
    z = jnp.zeros((2, DIM_Z))
    assert block_outputs(generator, z) == [(s, s, c) for s, c in gen]
    project = shapes(generator, z)['params']['project']['kernel']
    assert project.shape == (DIM_Z, bottom * bottom * first)

    x = jnp.zeros((2, image_size, image_size, 3))
    discriminator = resnet.ResNetDiscriminator(image_size=image_size, width=64)
    assert block_outputs(discriminator, x) == [(s, s, c) for s, c in dis]
    score = shapes(discriminator, x)['params']['score']
    assert score['kernel'].shape == (dis[-1][1], 1)
    assert ('bias' in score) == (image_size != 32)


def test_resnet_discriminator_hidden_layers_and_shortcuts():
    large = jax.tree.map(
        lambda leaf: leaf.shape,
        shapes(resnet.ResNetDiscriminator(48, 64), jnp.zeros((2, 48, 48, 3)))['params'],
    )
    # Inside, the first block is as wide as its output, every other block as its input.
    assert large['block1']['conv1']['kernel'] == (3, 3, 3, 64)
    assert large['block3']['conv1']['kernel'] == (3, 3, 128, 128)
    assert large['block3']['conv2']['kernel'] == (3, 3, 128, 256)
    assert large['block5']['shortcut']['kernel'] == (1, 1, 512, 1024)
    small = shapes(resnet.ResNetDiscriminator(32, 64), jnp.zeros((2, 32, 32, 3)))['params']
    learned = {block for block, leaves in small.items() if 'shortcut' in leaves}
    assert learned == {'block1', 'block2'}


@pytest.mark.parametrize(
    ('variant', 'channels'),
    [
        ('paper', [64, 64, 128, 128, 256, 256, 512]),
        ('code', [64, 128, 128, 256, 256, 512, 512]),
    ],
)
def test_standard_discriminator_kernels(variant, channels):
    module = sngan_cnn.SNGANCNNDiscriminator(image_size=48, variant=variant)
    params = shapes(module, jnp.zeros((2, 48, 48, 3)))['params']
    kernels = [params[f'conv{i}']['kernel'].shape for i in range(1, 8)]
    sizes = [3, 4, 3, 4, 3, 4, 3]
    assert kernels == [
        (k, k, i, o) for k, i, o in zip(sizes, [3, *channels[:-1]], channels, strict=True)
    ]
    assert params['score']['kernel'].shape == (6 * 6 * 512, 1)


def test_standard_generator_norm_after_the_dense_layer():
    z = jnp.zeros((2, DIM_Z))
    code = shapes(sngan_cnn.SNGANCNNGenerator(image_size=32, variant='code'), z)['params']
    paper = shapes(sngan_cnn.SNGANCNNGenerator(image_size=32, variant='paper'), z)['params']
    assert code['norm0']['scale'].shape == (4 * 4 * 512,)
    assert set(code) - set(paper) == {'norm0'}
    assert [code[f'deconv{i}']['kernel'].shape for i in (1, 2, 3)] == [
        (4, 4, 512, 256),
        (4, 4, 256, 128),
        (4, 4, 128, 64),
    ]
