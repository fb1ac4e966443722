"""Generators and discriminators against plain operations: values, ranges, initialization and
compute types.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict
from jax import lax

from helpers.networks import (
    DIM_Z,
    drawn,
    images,
    init,
    jit,
    normal,
    small_discriminator,
    small_generator,
    variables_of,
)
from snjax import models
from snjax.models import resnet, sngan_cnn
from snjax.nn import layers
from snjax.nn.normalization import batch_norm

# --- values


def conv_plain(x, params):
    y = lax.conv_general_dilated(
        x, params['kernel'], (1, 1), 'SAME', dimension_numbers=('NHWC', 'HWIO', 'NHWC')
    )
    return y + params['bias']


def pool_plain(x):
    return lax.reduce_window(x, 0.0, lax.add, (1, 2, 2, 1), (1, 2, 2, 1), 'VALID') / 4


def norm_plain(x, params):
    mean, variance = x.mean((0, 1, 2)), x.var((0, 1, 2))
    return (x - mean) / jnp.sqrt(variance + 2e-5) * params['scale'] + params['bias']


def relu_plain(x):
    return jnp.maximum(x, 0)


def double_plain(x):
    return jnp.repeat(jnp.repeat(x, 2, axis=1), 2, axis=2)


def test_up_block_against_plain_operations():
    norm = batch_norm(train=True, axis_name=None, dtype=jnp.float32)
    block = resnet.UpBlock(6, conv=layers.Conv, norm=norm)
    x = 3 * normal(4, 4, 4, 5) + 1
    variables = drawn(jax.eval_shape(block.init, jax.random.key(0), x), neutral=False)
    y, _ = jit(functools.partial(block.apply, mutable=['batch_stats']))(variables, x)

    def plain(x, params):
        h = conv_plain(double_plain(relu_plain(norm_plain(x, params['norm1']))), params['conv1'])
        h = conv_plain(relu_plain(norm_plain(h, params['norm2'])), params['conv2'])
        return h + conv_plain(double_plain(x), params['shortcut'])

    np.testing.assert_allclose(y, jit(plain)(x, variables['params']), rtol=2e-4, atol=2e-4)


@pytest.mark.parametrize(
    ('features', 'down', 'first'),
    [(6, True, True), (6, True, False), (6, False, False), (5, False, False)],
)
def test_down_block_against_plain_operations(features, down, first):
    block = resnet.DownBlock(features, conv=layers.Conv, down=down, first=first)
    x = normal(2, 8, 8, 5)
    variables = drawn(jax.eval_shape(block.init, jax.random.key(0), x), neutral=False)

    def plain(x, params):
        h = conv_plain(x if first else relu_plain(x), params['conv1'])
        h = conv_plain(relu_plain(h), params['conv2'])
        if first:
            return pool_plain(h) + conv_plain(pool_plain(x), params['shortcut'])
        if down:
            return pool_plain(h) + pool_plain(conv_plain(x, params['shortcut']))
        if features != 5:
            return h + conv_plain(x, params['shortcut'])
        assert 'shortcut' not in params
        return h + x

    y, expected = jit(block.apply)(variables, x), jit(plain)(x, variables['params'])
    np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize('image_size', [16, 32])
def test_resnet_discriminator_sums_over_pixels(image_size):
    dis = small_discriminator(
        architecture='resnet', image_size=image_size, layers=models.PLAIN, dis_width=3
    )
    x = images(2, image_size, image_size, 3)
    params = jax.tree.map(jnp.zeros_like, variables_of(dis, x)['params'])
    last = max(name for name in params if name.startswith('block'))
    params[last]['conv2']['bias'] = jnp.array([1.0, 2.0, -5.0])
    params['score']['kernel'] = jnp.array([[0.5], [0.25], [7.0]])
    pixels = (image_size // 4) ** 2
    # ReLU removes the third channel, the sum counts the first two once per pixel.
    logits = jit(functools.partial(dis.apply, train=True))({'params': params}, x)
    np.testing.assert_allclose(logits, [pixels] * 2)


@pytest.mark.parametrize(('variant', 'slope'), [('paper', 0.1), ('code', 0.2)])
def test_standard_discriminator_leaky_slope(variant, slope):
    dis = small_discriminator(
        architecture='sngan_cnn', variant=variant, layers=models.PLAIN, dis_width=1
    )
    x = images(2, 16, 16, 3)
    params = jax.tree.map(jnp.zeros_like, variables_of(dis, x)['params'])
    params['conv7']['bias'] = -jnp.ones(8)
    params['score'] = {'kernel': jnp.ones((2 * 2 * 8, 1)), 'bias': jnp.array([3.0])}
    logits = jit(functools.partial(dis.apply, train=True))({'params': params}, x)
    np.testing.assert_allclose(logits, [3 - 32 * slope] * 2, rtol=1e-6)


def test_standard_generator_relu_after_the_dense_layer_is_the_codes_alone():
    z = normal(4, DIM_Z)
    odd = {}
    for variant in ('paper', 'code'):
        gen = small_generator(architecture='sngan_cnn', variant=variant, gen_width=2)
        variables = variables_of(gen, z)

        def first_map(z, gen=gen, variables=variables):
            is_first = lambda m, _: m.name == 'deconv1'  # noqa: E731
            _, state = gen.apply(variables, z, train=False, capture_intermediates=is_first)
            return state['intermediates']['deconv1']['__call__'][0]

        first_map = jit(first_map)
        there, back = first_map(z), first_map(-z)
        assert float(jnp.abs(there).max()) > 1e-3
        odd[variant] = bool(jnp.allclose(there, -back, atol=1e-6))
    assert odd == {'paper': True, 'code': False}


@pytest.mark.parametrize('architecture', ['resnet', 'sngan_cnn'])
@pytest.mark.parametrize(('image_size', 'channels'), [(16, 1), (48, 3)])
def test_shapes_types_and_ranges(architecture, image_size, channels):
    gen = small_generator(
        architecture=architecture, image_size=image_size, gen_width=1, channels=channels
    )
    z = normal(2, 7)
    variables = variables_of(gen, z)
    variables['params']['to_image']['kernel'] = 2 * normal(3, 3, 1, channels)
    apply = functools.partial(gen.apply, train=True, mutable=['batch_stats'])
    fake, _ = jit(apply)(variables, z)
    assert fake.shape == (2, image_size, image_size, channels)
    assert fake.dtype == jnp.float32
    assert -1 <= float(fake.min()) < -0.8 and 0.8 < float(fake.max()) <= 1

    dis = small_discriminator(architecture=architecture, image_size=image_size, dis_width=1)
    logits, _ = jax.eval_shape(
        functools.partial(dis.init_with_output, train=True), jax.random.key(0), fake
    )
    assert logits.shape == (2,)
    assert logits.dtype == jnp.float32


@pytest.mark.parametrize('image_size', [16, 24, 40, 64, 136])
def test_standard_networks_take_any_multiple_of_eight(image_size):
    gen = small_generator(architecture='sngan_cnn', image_size=image_size)
    dis = small_discriminator(architecture='sngan_cnn', image_size=image_size)

    def both(rng):
        fake, _ = gen.init_with_output(rng, jnp.zeros((2, DIM_Z)), train=True)
        logits, _ = dis.init_with_output(rng, fake, train=True)
        return fake, logits

    fake, logits = jax.eval_shape(both, jax.random.key(0))
    assert fake.shape == (2, image_size, image_size, 3)
    assert logits.shape == (2,)


# --- initialization


def test_resnet_initialization_is_glorot_uniform_with_its_gains():
    gen = init(resnet.ResNetGenerator(16, 24), normal(2, DIM_Z))['params']
    dis = init(resnet.ResNetDiscriminator(16, 24), images(2, 16, 16, 3))['params']
    for path, leaf in {**flatten_dict({'gen': gen}), **flatten_dict({'dis': dis})}.items():
        if path[-1] == 'kernel':
            area = leaf.size // (leaf.shape[-2] * leaf.shape[-1])
            gain = np.sqrt(2) if path[-2] in ('conv1', 'conv2') else 1
            limit = gain * np.sqrt(6 / (area * (leaf.shape[-2] + leaf.shape[-1])))
            largest = float(jnp.abs(leaf).max())
            assert largest <= limit * (1 + 1e-6), path
            assert largest > limit * (0.97 if leaf.size > 100 else 0.7), path
        elif path[-1] == 'bias':
            np.testing.assert_array_equal(leaf, 0, err_msg=str(path))
        else:
            np.testing.assert_array_equal(leaf, 1, err_msg=str(path))


def test_standard_initialization_is_normal():
    gen = init(sngan_cnn.SNGANCNNGenerator(16, 16), normal(2, DIM_Z))['params']
    dis = init(sngan_cnn.SNGANCNNDiscriminator(16, 16), images(2, 16, 16, 3))['params']
    leaves = {**flatten_dict({'gen': gen}), **flatten_dict({'dis': dis})}
    for path, leaf in jax.device_get(leaves).items():
        if path[-1] == 'kernel':
            # Five standard errors of a standard deviation.
            assert abs(float(leaf.std()) / 0.02 - 1) < 5 / np.sqrt(2 * leaf.size), path
            assert abs(float(leaf.mean())) < 5 * 0.02 / np.sqrt(leaf.size), path
        elif path[-1] == 'bias':
            np.testing.assert_array_equal(leaf, 0, err_msg=str(path))


# --- compute types


@pytest.mark.parametrize('architecture', ['resnet', 'sngan_cnn'])
def test_bfloat16_is_close_to_float32_and_keeps_float32_state(architecture):
    z, x = normal(4, DIM_Z), images(4, 16, 16, 3)
    outputs = {}
    for dtype in ('float32', 'bfloat16'):
        gen = small_generator(architecture=architecture, dtype=dtype)
        dis = small_discriminator(architecture=architecture, dtype=dtype)
        gen_variables, dis_variables = variables_of(gen, z), variables_of(dis, x)
        run = jit(functools.partial(gen.apply, train=True, mutable=['batch_stats']))
        fake, updated = run(gen_variables, z)
        run = jit(functools.partial(dis.apply, train=True, mutable=['spectral']))
        logits, advanced = run(dis_variables, x)
        for leaf in jax.tree.leaves(
            (gen_variables, dis_variables, updated, advanced, fake, logits)
        ):
            assert leaf.dtype == jnp.float32
        outputs[dtype] = np.asarray(fake), np.asarray(logits)
    for half, full in zip(outputs['bfloat16'], outputs['float32'], strict=True):
        error = np.linalg.norm(half - full) / np.linalg.norm(full)
        assert 1e-5 < error < 0.03
