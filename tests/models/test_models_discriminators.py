"""Discriminators with other norms, a first convolution of stride 2, and options of the layers of
both players.
"""

import dataclasses
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
from snjax.nn import layers, normalization
from snjax.nn.blocks import DownBlock

# --- norms of a discriminator's activations


@pytest.mark.parametrize(
    ('architecture', 'norms'),
    [
        ('wgan_gp_cnn', {'norm2', 'norm3'}),
        ('sngan_cnn', {f'norm{i}' for i in range(2, 8)}),
        (
            'resnet',
            {'block1/norm2'} | {f'block{i}/norm{j}' for i in (2, 3) for j in (1, 2)},
        ),
    ],
)
@pytest.mark.parametrize('scale', [False, True])
@pytest.mark.parametrize('name', ['layer', 'batch'])
def test_norms_stand_where_they_should(architecture, norms, name, scale):
    layers = models.BATCH_NORM if name == 'batch' else models.LAYER_NORM
    if scale:
        norm = functools.partial(layers.norm, use_scale=True)
        layers = dataclasses.replace(layers, norm=norm)
    dis = models.make_discriminator(
        architecture=architecture, image_size=16, dis_width=4, layers=layers
    )
    variables = shapes(dis, jnp.zeros((2, 16, 16, 3)))
    assert set(variables) == {'params'} | ({'batch_stats'} if name == 'batch' else set())
    leaves = flatten_dict(variables['params'], sep='/')
    found = {}
    for path in leaves:
        layer, kind = path.rsplit('/', 1)
        if 'norm' in layer:
            found.setdefault(layer, set()).add(kind)
    assert found == {norm: {'bias', 'scale'} if scale else {'bias'} for norm in norms}


@pytest.mark.parametrize('name', ['layer', 'batch'])
def test_a_normalized_block_against_plain_operations(name):
    make = getattr(normalization, f'activation_{name}_norm')
    norm = functools.partial(make, train=True, dtype=jnp.float32)
    block = DownBlock(5, conv=layers.Conv, down=False, norm=norm)
    x = 2 * normal(3, 4, 4, 5) + 1
    variables = jax.eval_shape(block.init, jax.random.key(0), x)
    params = jax.tree.map(lambda leaf: normal(*leaf.shape) / 3, variables['params'])
    state = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape), {**variables, 'params': params})
    state['params'] = params
    axes, epsilon = ((1, 2, 3), 1e-5) if name == 'layer' else ((0, 1, 2), 2e-5)

    def plain(x, params):
        h = x
        for i in (1, 2):
            mean, variance = h.mean(axes, keepdims=True), h.var(axes, keepdims=True)
            h = (h - mean) / jnp.sqrt(variance + epsilon) + params[f'norm{i}']['bias']
            conv = params[f'conv{i}']
            h = jnp.maximum(h, 0)
            h = lax.conv_general_dilated(h, conv['kernel'], (1, 1), 'SAME', dimension_numbers=NHWC)
            h = h + conv['bias']
        return x + h

    y, _ = jit(functools.partial(block.apply, mutable=['batch_stats']))(state, x)
    np.testing.assert_allclose(y, jit(plain)(x, params), rtol=1e-3, atol=1e-3)


def test_batch_norm_of_a_discriminator_shares_its_statistics():
    dis = functools.partial(
        models.make_discriminator,
        architecture='wgan_gp_cnn',
        image_size=16,
        dis_width=2,
        layers=models.BATCH_NORM,
    )
    x = normal(4, 16, 16, 3) + jnp.arange(4.0)[:, None, None, None]
    variables = filled(dis(), x)
    apply = functools.partial(dis().apply, variables, train=True, mutable=['batch_stats'])
    whole, _ = jit(apply)(x)
    logits = {}
    for axis in (None, 'batch'):
        apply = functools.partial(
            dis(batch_norm_axis=axis).apply, variables, train=True, mutable=['batch_stats']
        )
        logits[axis], _ = jit(jax.vmap(apply, axis_name='batch'))(x.reshape(2, 2, 16, 16, 3))
    np.testing.assert_allclose(logits['batch'].reshape(-1), whole, rtol=1e-3, atol=1e-4)
    assert float(jnp.abs(logits[None].reshape(-1) - whole).max()) > 1e-2


# --- a first convolution of stride 2


@pytest.mark.parametrize(
    ('image_size', 'width', 'channels', 'count'),
    [
        # 29,017,857 - (9 * 64^2 + 33 * 64) + (16 * 3 + 1) * 64.
        (128, 64, 3, 28_982_017),
        # SNGAN's 1,053,824 at 32 px with 3 channels likewise: - (9 * 128^2 + 33 * 128) + 49 * 128.
        (32, 128, 3, 908_416),
    ],
)
def test_first_stride2_parameters(image_size, width, channels, count):
    dis = models.make_discriminator(
        architecture='resnet', image_size=image_size, dis_width=width, first_stride2=True
    )
    assert parameters(dis, jnp.zeros((2, image_size, image_size, channels))) == count


def test_first_stride2_takes_the_place_of_the_first_block():
    kwargs = {'architecture': 'resnet', 'image_size': 32, 'dis_width': 4, 'layers': models.PLAIN}
    x = jnp.zeros((2, 32, 32, 3))
    usual = shapes(models.make_discriminator(**kwargs), x)['params']
    params = shapes(models.make_discriminator(first_stride2=True, **kwargs), x)['params']
    assert set(usual) - set(params) == {'block1'} and set(params) - set(usual) == {'stem'}
    assert params['stem']['kernel'].shape == (4, 4, 3, 4)
    for block in ('block2', 'block3', 'block4'):
        assert jax.tree.map(np.shape, params[block]) == jax.tree.map(np.shape, usual[block])
    # The maps keep their sizes: self-attention at 16 px comes right after the stem.
    dis = models.make_discriminator(first_stride2=True, attention=16, **kwargs)
    assert 'attention' in shapes(dis, x)['params']


def test_first_stride2_is_the_resnets_alone(own_errors):
    with pytest.raises(
        ValueError, match=r"first_stride2 is True: .*only 'resnet'.* False"
    ) as error:
        models.make_discriminator(
            architecture='wgan_gp_cnn', image_size=16, dis_width=4, first_stride2=True
        )
    assert '--config.model.first_stride2' in str(error.value)


# --- options of the layers


LAYERS = ('conv', 'conv_transpose', 'dense', 'embed')
ARGUMENTS = {'conv': (4, 3), 'conv_transpose': (4, 3), 'dense': (4,), 'embed': (4, 3)}


@pytest.mark.parametrize('kind', LAYERS)
def test_spectral_options_reach_every_layer(kind):
    options = {
        'n_power_iterations': 3,
        'n_warmup_iterations': 15,
        'operator': 'bidirectional',
        'learnable_scale': True,
        'lipschitz': 2.0,
    }
    layer = getattr(models.spectral_norm(**options), kind)(*ARGUMENTS[kind])
    assert {key: getattr(layer, key) for key in options} == options and layer.divide
    default = getattr(models.SPECTRAL, kind)(*ARGUMENTS[kind])
    assert (default.n_power_iterations, default.n_warmup_iterations) == (1, 0)
    assert (default.operator, default.learnable_scale, default.lipschitz) == ('reshaped', False, 1)
    iteration = {key: options[key] for key in list(options)[:3]}
    layer = getattr(models.tracked(**iteration), kind)(*ARGUMENTS[kind])
    assert {key: getattr(layer, key) for key in iteration} == iteration
    assert not layer.divide and not models.TRACKED.dense(4).divide


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        ({'n_power_iterations': 0}, r'n_power_iterations is 0: whole numbers from 1'),
        ({'n_warmup_iterations': -1}, r'n_warmup_iterations is -1'),
        ({'operator': 'conv'}, r"sn_operator is 'conv'.*nearest is 'convo"),
        ({'lipschitz': 0.0}, r'lipschitz is 0.0: numbers above 0'),
    ],
)
def test_spectral_options_that_are_not_accepted_are_named_in_one_line(options, message):
    with pytest.raises(ValueError, match=message) as error:
        models.spectral_norm(**options)
    assert '\n' not in str(error.value)
    assert '--config.model.' in str(error.value)


@pytest.mark.parametrize('architecture', ['resnet', 'sngan_cnn', 'wgan_gp_cnn'])
def test_spectral_networks_normalize_every_kernel_and_embedding(architecture):
    kwargs = {'architecture': architecture, 'image_size': 16, 'num_classes': 3}
    labels = jnp.zeros(2, jnp.int32)
    gen = models.make_generator(gen_width=4, layers=models.SPECTRAL, **kwargs)
    dis = models.make_discriminator(dis_width=4, head='projection', **kwargs)
    for module, x in ((gen, jnp.zeros((2, 8))), (dis, jnp.zeros((2, 16, 16, 3)))):
        variables = shapes(module, x, labels)
        weights = {
            path[:-1]
            for path in flatten_dict(variables['params'])
            if path[-1] in ('kernel', 'embedding')
        }
        assert {path[:-1] for path in flatten_dict(variables['spectral'])} == weights
        assert ('embed',) in weights or module is gen


@pytest.mark.parametrize('architecture', ['resnet', 'sngan_cnn', 'wgan_gp_cnn'])
def test_bfloat16_keeps_float32_parameters_states_and_outputs(architecture):
    kwargs = {'architecture': architecture, 'image_size': 16, 'num_classes': 3, 'dtype': 'bfloat16'}
    kwargs |= {'attention': 8} if architecture == 'resnet' else {}
    labels = jnp.zeros(2, jnp.int32)
    gen = models.make_generator(gen_width=4, layers=models.SPECTRAL, **kwargs)
    dis = models.make_discriminator(dis_width=4, head='acgan', layers=models.BATCH_NORM, **kwargs)
    types = {}

    def note(next_fun, args, kwargs, context):
        y = next_fun(*args, **kwargs)
        is_conv = isinstance(context.module, layers.Conv | layers.ConvTranspose)
        if is_conv and context.method_name == '__call__':
            types['/'.join(context.module.path)] = y.dtype
        return y

    def both(rng):
        fake, gen_variables = gen.init_with_output(rng, jnp.zeros((2, 8)), labels, train=True)
        logits, dis_variables = dis.init_with_output(rng, fake, labels, train=True)
        return fake, logits, gen_variables, dis_variables

    with nn.intercept_methods(note):
        leaves = jax.tree.leaves(jax.eval_shape(both, jax.random.key(0)))
    assert {leaf.dtype for leaf in leaves} == {jnp.dtype('float32')}
    assert set(types.values()) == {jnp.dtype('bfloat16')}
