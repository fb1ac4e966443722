"""The DCGAN generator of Radford et al. against their description: counts, sizes, initialization,
its arithmetic.
"""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict
from jax import lax

from helpers.networks import filled, normal, parameters, shapes
from snjax import models


def make(image_size, width=4, **kwargs):
    return models.make_generator(
        architecture='radford', image_size=image_size, gen_width=width, **kwargs
    )


@pytest.mark.parametrize(
    ('image_size', 'dim_z', 'channels', 'count'),
    [
        # Dense 100 * 16 * 512 = 819,200; 16 * (512 * 256 + 256 * 128 + 128 * 64) = 2,752,512; to
        # the image 16 * 64 * 3 = 3,072; gamma and beta of four norms 2 * (512 + 256 + 128 + 64) =
        # 1,920.
        (64, 100, 3, 3_576_704),
        # 156 more rows of the dense layer: + 156 * 8,192.
        (64, 256, 3, 4_854_656),
        # One layer less: 100 * 16 * 256 + 16 * (256 * 128 + 128 * 64) + 16 * 64 + 2 * (256 + 128 +
        # 64).
        (32, 100, 1, 1_066_880),
        # One more: 100 * 16 * 1024 + 16 * (1024 * 512 + 512 * 256 + 256 * 128 + 128 * 64) + 3,072 +
        # 2 * 1,984.
        (128, 100, 3, 12_786_560),
    ],
)
def test_the_published_parameter_count(image_size, dim_z, channels, count):
    gen = make(image_size, 64, channels=channels)
    assert parameters(gen, jnp.zeros((2, dim_z))) == count


@pytest.mark.parametrize('image_size', [8, 16, 32, 128])
@pytest.mark.parametrize('channels', [1, 3])
def test_sizes(image_size, channels):
    gen = make(image_size, channels=channels)
    z = jnp.zeros((2, 10))
    images, _ = jax.eval_shape(
        functools.partial(gen.apply, train=True, mutable=['batch_stats']), shapes(gen, z), z
    )
    assert images.shape == (2, image_size, image_size, channels) and images.dtype == jnp.float32
    # Width before the last layer, twice as many channels for every halving.
    params = shapes(gen, z)['params']
    layers = image_size.bit_length() - 4
    assert params['to_image']['kernel'].shape == (4, 4, 4, channels)
    assert params['norm0']['scale'].shape == (4 * 2**layers,)
    assert params['project']['kernel'].shape == (10, 16 * 4 * 2**layers)


def test_no_biases_and_four_by_four_kernels():
    variables = shapes(make(64), jnp.zeros((2, 10)))
    assert variables.keys() == {'params', 'batch_stats'}
    leaves = flatten_dict(variables['params'], sep='/')
    layers = ['project', 'deconv1', 'deconv2', 'deconv3', 'to_image']
    norms = [f'norm{i}/{leaf}' for i in range(4) for leaf in ('scale', 'bias')]
    assert leaves.keys() == {*(f'{layer}/kernel' for layer in layers), *norms}
    assert all(leaves[f'{layer}/kernel'].shape[:2] == (4, 4) for layer in layers[1:])


def test_weights_start_at_normal_002():
    variables = jax.jit(functools.partial(make(16, 32).init, train=False))(
        jax.random.key(0), jnp.zeros((2, 100))
    )
    leaves = flatten_dict(variables['params'], sep='/')
    for name, leaf in leaves.items():
        if 'kernel' in name:
            x = np.asarray(leaf, np.float64)
            assert x.std() == pytest.approx(0.02, rel=5 / np.sqrt(2 * x.size)), name
            assert abs(x.mean()) < 5 * 0.02 / np.sqrt(x.size), name
            # Not truncated: the largest of so many normal draws exceeds three deviations.
            assert 3 * 0.02 < np.abs(x).max() < 7 * 0.02, name
        else:
            np.testing.assert_array_equal(leaf, float('scale' in name), err_msg=name)


def reference(variables, z, image_size):
    """The generator by XLA's own transposed convolutions, with the stored statistics."""
    params, stats = variables['params'], variables['batch_stats']

    def normed(h, i):
        scale, bias = params[f'norm{i}']['scale'], params[f'norm{i}']['bias']
        mean, var = stats[f'norm{i}']['mean'], stats[f'norm{i}']['var']
        return jnp.maximum((h - mean) / jnp.sqrt(var + 1e-5) * scale + bias, 0)

    h = normed((z @ params['project']['kernel']).reshape(len(z), 4, 4, -1), 0)
    doublings = (image_size // 4).bit_length() - 1
    for i in range(1, doublings + 1):
        name = f'deconv{i}' if i < doublings else 'to_image'
        h = lax.conv_transpose(h, params[name]['kernel'], (2, 2), 'SAME')
        h = normed(h, i) if i < doublings else jnp.tanh(h)
    return h


def test_values_are_those_of_the_description():
    gen, z = make(16, channels=2), normal(3, 6)
    variables = filled(gen, z)
    stats = jax.tree.map(lambda x: jnp.abs(x) + 0.1, variables['batch_stats'])
    variables = {**variables, 'batch_stats': stats}
    images = jax.jit(functools.partial(gen.apply, train=False))(variables, z)
    expected = jax.jit(functools.partial(reference, image_size=16))(variables, z)
    np.testing.assert_allclose(images, expected, rtol=1e-4, atol=1e-6)
    assert float(images.std()) > 0.01


def test_images_are_in_range_and_statistics_move():
    """Images are in range for huge weights too, and float32 for every compute type."""
    gen, z = make(8, dtype='bfloat16'), normal(8, 6)
    variables = jax.tree.map(lambda x: 30 * x, filled(gen, z))
    apply = jax.jit(functools.partial(gen.apply, train=True, mutable=['batch_stats']))
    images, moved = apply(variables, z)
    assert images.dtype == jnp.float32
    assert float(images.min()) == -1 and float(images.max()) == 1
    before, after = (flatten_dict(x['batch_stats'], sep='/') for x in (variables, moved))
    assert before.keys() == after.keys() == {'norm0/mean', 'norm0/var'}
    for name, leaf in after.items():
        assert leaf.dtype == jnp.float32 and not np.array_equal(before[name], leaf), name


def test_epsilon_is_that_of_the_code_and_norms_are_synchronized():
    found = {}

    def note(next_fun, args, kwargs, context):
        if hasattr(context.module, 'epsilon'):
            found[context.module.name] = context.module.epsilon, context.module.axis_name
        return next_fun(*args, **kwargs)

    z = jnp.zeros((1, 2, 6))
    gen = make(16, batch_norm_axis='batch')
    init = functools.partial(gen.init, train=True)
    with nn.intercept_methods(note):
        jax.eval_shape(jax.vmap(init, (None, 0), axis_name='batch'), jax.random.key(0), z)
    assert found == {'norm0': (1e-5, 'batch'), 'norm1': (1e-5, 'batch')}


def test_classes_and_spectral_norms_fit_in():
    z, labels = jnp.zeros((2, 10)), jnp.zeros(2, jnp.int32)
    plain = parameters(make(16), z)
    # Two more rows of gamma and beta in the norm of 4 channels; the norm after the dense layer has
    # no rows.
    assert parameters(make(16, num_classes=3), z, labels) == plain + 2 * 2 * 4
    spectral = shapes(make(16, layers=models.SPECTRAL), z)['spectral']
    assert spectral.keys() == {'project', 'deconv1', 'to_image'}


# ---- errors


@pytest.mark.parametrize(
    ('size', 'near'), [(48, '32 and 64'), (4, '8 and 16'), (0, '8 and 16'), (100, '64 and 128')]
)
def test_other_sizes_are_named_in_one_line(size, near):
    with pytest.raises(ValueError) as caught:
        make(size)
    assert str(caught.value) == (
        f"image_size is {size}: the architecture 'radford' takes powers of 2 from 8; the nearest are {near} "
        '(--config.data.image_size)'
    )


def test_it_has_no_discriminator_and_one_variant():
    with pytest.raises(ValueError, match='radford'):
        models.make_discriminator(architecture='radford', image_size=16, dis_width=4)
    with pytest.raises(ValueError, match='wgan_gp'):
        make(16, variant='wgan_gp')
