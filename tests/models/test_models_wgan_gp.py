"""WGAN-GP's networks against their published code: parameter counts, pooling, epsilon,
initialization.
"""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict
from jax import lax

from helpers.networks import NHWC, filled, jit, normal, parameters, shapes
from snjax import models
from snjax.models import wgan_gp_cnn

DIM_Z = 128
LABELS = jnp.asarray([2, 0, 1, 2], jnp.int32)


# --- parameter counts at 32 px, width 128


@pytest.mark.parametrize(
    ('architecture', 'num_classes', 'count'),
    [
        # Dense 128 * 2,048 + 2,048 = 264,192; each of three blocks: two norms 2 * 2 * 128 = 512,
        # two 3x3 convolutions 2 * (9 * 128^2 + 128) = 295,168, a 1x1 shortcut 128^2 + 128 = 16,512,
        # together 312,192; the last norm 256; to the image 9 * 128 * 3 + 3 = 3,459.
        ('resnet', 0, 1_204_483),
        # 9 more rows of gamma and beta in six norms: + 6 * 9 * 2 * 128 = 13,824.
        ('resnet', 10, 1_218_307),
        # Dense 128 * 8,192 + 8,192 = 1,056,768, its norm 2 * 8,192 = 16,384; 25 * 512 * 256 + 256 =
        # 3,277,056 and its norm 512; 25 * 256 * 128 + 128 = 819,328 and its norm 256; 25 * 128 * 3
        # + 3 = 9,603.
        ('wgan_gp_cnn', 0, 5_179_907),
        # 9 more rows in the norms of 256 and 128 channels: + 9 * 2 * 384 = 6,912.
        ('wgan_gp_cnn', 10, 5_186_819),
    ],
)
def test_generator_has_the_published_parameter_count(architecture, num_classes, count):
    gen = models.make_generator(
        architecture=architecture,
        image_size=32,
        gen_width=128,
        variant='wgan_gp' if architecture == 'resnet' else 'paper',
        num_classes=num_classes,
    )
    labels = [jnp.zeros(2, jnp.int32)] if num_classes else []
    assert parameters(gen, jnp.zeros((2, DIM_Z)), *labels) == count


@pytest.mark.parametrize(
    ('architecture', 'head', 'count'),
    [
        # SNGAN's 1,053,824 and the bias of the output.
        ('resnet', 'none', 1_053_825),
        # The classifier of the code's default mode: + 128 * 10 + 10.
        ('resnet', 'acgan', 1_055_115),
        # 25 * 3 * 128 + 128 = 9,728; 25 * 128 * 256 + 256 = 819,456; 25 * 256 * 512 + 512 =
        # 3,277,312; 8,192 + 1.
        ('wgan_gp_cnn', 'none', 4_114_689),
        # + 10 * 8,192.
        ('wgan_gp_cnn', 'projection', 4_196_609),
    ],
)
def test_discriminator_has_the_published_parameter_count(architecture, head, count):
    dis = models.make_discriminator(
        architecture=architecture,
        image_size=32,
        dis_width=128,
        variant='wgan_gp' if architecture == 'resnet' else 'paper',
        layers=models.PLAIN,
        head=head,
        num_classes=10 if head != 'none' else 0,
    )
    labels = [jnp.zeros(2, jnp.int32)] if head != 'none' else []
    assert parameters(dis, jnp.zeros((2, 32, 32, 3)), *labels) == count


def test_the_output_has_a_bias_at_every_size():
    for image_size in (16, 32, 48, 64):
        dis = models.ResNetDiscriminator(image_size, 4, variant='wgan_gp')
        params = shapes(dis, jnp.zeros((2, image_size, image_size, 3)))['params']
        assert params['score']['bias'].shape == (1,)


# --- the ResNet


def test_resnet_discriminator_averages_over_pixels():
    kwargs = {'image_size': 16, 'width': 4}
    mean, total = (models.ResNetDiscriminator(variant=v, **kwargs) for v in ('wgan_gp', 'paper'))
    x = normal(4, 16, 16, 3)
    variables = filled(mean, x)
    bias = variables['params']['score']['bias']
    averaged = jit(functools.partial(mean.apply, train=True))(variables, x)
    summed = jit(functools.partial(total.apply, train=True))(variables, x)
    assert float(jnp.abs(averaged - bias).min()) > 1e-3
    # The last map has 4 x 4 pixels.
    np.testing.assert_allclose(16 * (averaged - bias), summed - bias, rtol=1e-3, atol=1e-5)


def epsilons(module, *args):
    """The epsilon of every batch norm by its path."""
    found = {}

    def note(next_fun, args, kwargs, context):
        epsilon = getattr(context.module, 'epsilon', None)
        if epsilon is not None:
            found['/'.join(context.module.path)] = epsilon
        return next_fun(*args, **kwargs)

    with nn.intercept_methods(note):
        shapes(module, *args)
    return found


@pytest.mark.parametrize('num_classes', [0, 3])
@pytest.mark.parametrize(
    ('architecture', 'variant', 'epsilon', 'count'),
    [
        ('resnet', 'wgan_gp', 1e-5, 5),
        ('resnet', 'paper', 2e-5, 5),
        ('wgan_gp_cnn', 'paper', 1e-5, 3),
    ],
)
def test_generator_epsilon(architecture, variant, epsilon, count, num_classes):
    gen = models.make_generator(
        architecture=architecture,
        variant=variant,
        image_size=16,
        gen_width=4,
        num_classes=num_classes,
    )
    labels = [LABELS] if num_classes else []
    found = epsilons(gen, jnp.zeros((4, 5)), *labels)
    norms = {path.removesuffix('/batch_norm') for path in found}
    assert len(norms) == count
    assert set(found.values()) == {epsilon}


# --- the CNN


def test_dcgan_discriminator_against_plain_operations():
    dis = models.make_discriminator(
        architecture='wgan_gp_cnn', image_size=16, dis_width=3, layers=models.PLAIN
    )
    x = normal(4, 16, 16, 3)
    variables = filled(dis, x)

    def plain(x, params):
        for i in (1, 2, 3):
            kernel = params[f'conv{i}']['kernel']
            h = lax.conv_general_dilated(x, kernel, (2, 2), 'SAME', dimension_numbers=NHWC)
            h = h + params[f'conv{i}']['bias']
            x = jnp.maximum(0.2 * h, h)
        return x.reshape(4, -1) @ params['score']['kernel'][:, 0] + params['score']['bias']

    logits = jit(functools.partial(dis.apply, train=True))(variables, x)
    expected = jit(plain)(x, variables['params'])
    assert float(jnp.std(expected)) > 1e-2
    np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-5)


def test_dcgan_generator_against_plain_operations():
    gen = models.make_generator(architecture='wgan_gp_cnn', image_size=16, gen_width=3)
    z = normal(6, DIM_Z)
    variables = filled(gen, z)

    def norm_relu(x, params):
        axes = tuple(range(x.ndim - 1))
        y = (x - x.mean(axes)) / jnp.sqrt(x.var(axes) + 1e-5)
        return jnp.maximum(y * params['scale'] + params['bias'], 0)

    def deconv(x, params):
        return lax.conv_transpose(x, params['kernel'], (2, 2), 'SAME') + params['bias']

    def plain(z, params):
        h = z @ params['project']['kernel'] + params['project']['bias']
        h = norm_relu(h, params['norm0']).reshape(6, 2, 2, 12)
        for i in (1, 2):
            h = norm_relu(deconv(h, params[f'deconv{i}']), params[f'norm{i}'])
        return jnp.tanh(deconv(h, params['to_image']))

    apply = functools.partial(gen.apply, train=True, mutable=['batch_stats'])
    fake, updated = jit(apply)(variables, z)
    np.testing.assert_allclose(fake, jit(plain)(z, variables['params']), rtol=1e-3, atol=1e-4)
    assert fake.shape == (6, 16, 16, 3) and float(fake.std()) > 0.1
    # The first norm has separate statistics for every position.
    assert updated['batch_stats']['norm0']['mean'].shape == (2 * 2 * 12,)


@pytest.mark.parametrize('image_size', [16, 24, 40])
def test_dcgan_takes_any_multiple_of_eight(image_size):
    gen = models.WGANGPCNNGenerator(image_size, 4)
    dis = models.WGANGPCNNDiscriminator(image_size, 4)

    def both(rng):
        fake, _ = gen.init_with_output(rng, jnp.zeros((2, DIM_Z)), train=True)
        logits, _ = dis.init_with_output(rng, fake, train=True)
        return fake, logits

    fake, logits = jax.eval_shape(both, jax.random.key(0))
    assert fake.shape == (2, image_size, image_size, 3)
    assert logits.shape == (2,)


# --- initialization


@pytest.mark.parametrize(
    ('init', 'fans'), [('strided_init', 16 + 8 / 4), ('transposed_init', 16 / 4 + 8)]
)
def test_he_uniform_with_a_stride(init, fans):
    kernel = np.asarray(getattr(wgan_gp_cnn, init)(jax.random.key(0), (5, 5, 16, 8)), np.float64)
    variance = 4 / (25 * fans)
    # Five standard errors of the variance of a uniform distribution: var^2 (9/5 - 1) / n.
    assert abs(kernel.var() / variance - 1) < 5 * np.sqrt(0.8 / kernel.size)
    assert abs(kernel.mean()) < 5 * np.sqrt(variance / kernel.size)
    assert 0.99 < np.abs(kernel).max() / np.sqrt(3 * variance) <= 1 + 1e-6


def test_every_layer_starts_as_in_the_code():
    rng = jax.random.key(0, impl='rbg')
    gen, dis = models.WGANGPCNNGenerator(16, 8), models.WGANGPCNNDiscriminator(16, 8)
    init = jit(lambda rng, m=gen: m.init(rng, jnp.zeros((2, 20)), train=True)['params'])
    gen_params = init(rng)
    init = jit(lambda rng, m=dis: m.init(rng, jnp.zeros((2, 16, 16, 3)), train=True)['params'])
    dis_params = init(rng)
    # limit^2 / 3 is the variance: 4 / (fan_in + fan_out) of 5x5 kernels, 2 / (fan_in + fan_out) of
    # dense ones.
    limits = {
        'gen/project': 2 / (20 + 2 * 2 * 32),
        'gen/deconv1': 4 / 25 / (32 / 4 + 16),
        'gen/deconv2': 4 / 25 / (16 / 4 + 8),
        'gen/to_image': 4 / 25 / (8 / 4 + 3),
        'dis/conv1': 4 / 25 / (3 + 8 / 4),
        'dis/conv2': 4 / 25 / (8 + 16 / 4),
        'dis/conv3': 4 / 25 / (16 + 32 / 4),
        'dis/score': 2 / (2 * 2 * 32 + 1),
    }
    for path, leaf in flatten_dict({'gen': gen_params, 'dis': dis_params}, sep='/').items():
        layer, kind = path.rsplit('/', 1)
        if kind == 'kernel':
            ratio = float(jnp.abs(leaf).max()) / np.sqrt(3 * limits.pop(layer))
            assert 0.95 < ratio <= 1 + 1e-6, path
        else:
            np.testing.assert_array_equal(leaf, 1 if kind == 'scale' else 0, err_msg=path)
    assert not limits


# --- errors


@pytest.mark.parametrize(
    ('make', 'kwargs', 'message'),
    [
        (
            'gen',
            {'architecture': 'wgan_gp_cnn', 'image_size': 28},
            r'CNN of WGAN-GP takes multiples of 8',
        ),
        ('dis', {'architecture': 'wgan_gp_cnn', 'image_size': 8}, r'nearest are 16 and 24'),
        (
            'gen',
            {'architecture': 'sngan_cnn', 'variant': 'wgan_gp'},
            r"'paper', 'code' \(",
        ),
        ('dis', {'architecture': 'resnet', 'variant': 'wgan-gp'}, r"nearest is 'wgan_gp'"),
    ],
)
def test_what_is_not_accepted_is_named_in_one_line(own_errors, make, kwargs, message):
    with pytest.raises(ValueError, match=message) as error:
        if make == 'gen':
            models.make_generator(**{'image_size': 16, 'gen_width': 4, **kwargs})
        else:
            models.make_discriminator(**{'image_size': 16, 'dis_width': 4, **kwargs})
    assert '\n' not in str(error.value)
