"""The layers for NNX: against the linen layers bit for bit, their namesakes, and float64's SVD."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from helpers.spectral_layers import IMAGE, largest_singular_value
from snjax import spectral
from snjax.spectral.nnx import SNConv, SNConvTranspose, SNEmbed, SNLinear, Spectral

PAIR = {'kernel_size': (4, 4), 'strides': (2, 2)}
# name: (linen layer, NNX layer, its positional arguments, arguments of both, shape of the input)
LAYERS = {
    'dense': (spectral.SNDense, SNLinear, (5, 7), {}, (2, 5)),
    'conv': (spectral.SNConv, SNConv, (3, 4), {'kernel_size': (3, 3)}, IMAGE),
    'conv_strided': (spectral.SNConv, SNConv, (3, 4), PAIR, IMAGE),
    'conv_groups': (
        spectral.SNConv,
        SNConv,
        (4, 6),
        {'kernel_size': (3,), 'feature_group_count': 2, 'kernel_dilation': 2, 'padding': 'VALID'},
        (2, 6, 4),
    ),
    'conv_transpose': (spectral.SNConvTranspose, SNConvTranspose, (3, 4), PAIR, IMAGE),
    'conv_transpose_1d': (
        spectral.SNConvTranspose,
        SNConvTranspose,
        (3, 4),
        {'kernel_size': (3,), 'strides': (2,), 'padding': 'VALID'},
        (2, 5, 3),
    ),
    'embed': (spectral.SNEmbed, SNEmbed, (6, 4), {}, None),
    'embed_rows': (spectral.SNEmbed, SNEmbed, (6, 4), {'u_over': 'rows'}, None),
    # Flax pads in the NNX layer, this library in the linen layer.
    **{
        f'conv_{padding.lower()}': (
            spectral.SNConv,
            SNConv,
            (3, 4),
            {'kernel_size': (4, 3)[-rank:], 'padding': padding, 'kernel_dilation': 4 - rank},
            (2, *(6, 7)[:rank], 3),
        )
        for padding, rank in (('CIRCULAR', 2), ('REFLECT', 2), ('CAUSAL', 1))
    },
    **{
        f'conv_transpose_circular{k}': (
            spectral.SNConvTranspose,
            SNConvTranspose,
            (3, 4),
            {'kernel_size': (k, 3), 'strides': (2, 1), 'padding': 'CIRCULAR'},
            IMAGE,
        )
        for k in (2, 3, 4)
    },
}
OPTIONS = {
    'plain': {},
    'bfloat16': {'dtype': jnp.bfloat16},
    'options': {'learnable_scale': True, 'lipschitz': 2.0, 'n_power_iterations': 2},
    'bidirectional': {'operator': 'bidirectional'},
    'convolution': {'operator': 'convolution'},
    'undivided': {'divide': False},
}
CASES = [
    *((name, 'plain') for name in LAYERS),
    *((name, option) for name in ('dense', 'conv', 'embed') for option in ('bfloat16', 'options')),
    *((name, option) for name in ('conv', 'conv_transpose') for option in list(OPTIONS)[3:]),
]


def pair(name, **options):
    """The linen layer, the NNX layer that shares its arrays, and an input."""
    linen, layer, sizes, arguments, shape = LAYERS[name]
    arguments = {**arguments, **options}
    rng = np.random.default_rng(0)
    x = jnp.arange(5) if shape is None else jnp.asarray(rng.standard_normal(shape), jnp.float32)
    more = {}
    if options.get('operator') == 'convolution':
        more = {'image_shape': shape[1:-1]}
    ours = layer(*sizes, **arguments, **more, rngs=nnx.Rngs(0))
    theirs = linen(*(sizes if shape is None else sizes[1:]), **arguments)
    # linen's variables are those of the NNX layer, which keeps them under the same names.
    state = nnx.to_pure_dict(nnx.state(ours))
    variables = {'spectral': state.pop('spectral'), 'params': state}
    return theirs, variables, ours, x


def assert_same_bits(found, expected):
    found, expected = jax.tree.leaves_with_path(found), jax.tree.leaves_with_path(expected)
    assert [path for path, _ in found] == [path for path, _ in expected]
    for (path, a), (_, b) in zip(found, expected, strict=True):
        assert a.dtype == b.dtype, path
        np.testing.assert_array_equal(np.asarray(a), np.asarray(b), err_msg=str(path))


@pytest.mark.parametrize(('name', 'option'), CASES)
def test_the_layers_compute_the_bits_of_linen(name, option):
    theirs, variables, ours, x = pair(name, **OPTIONS[option])
    for mutable in (['spectral'], False):
        run = jax.jit(lambda v, m=mutable: theirs.apply(v, x, mutable=m))
        expected, updated = run(variables) if mutable else (run(variables), {})
        variables = {**variables, **updated}
        found = nnx.jit(lambda layer, m=mutable: layer(x, update_stats=bool(m)))(ours)
        assert_same_bits(found, expected)
        assert_same_bits(
            nnx.to_pure_dict(nnx.state(ours, Spectral))['spectral'], variables['spectral']
        )


# ---- a small GAN


class LinenCritic(nn.Module):
    @nn.compact
    def __call__(self, x, labels):
        h = nn.relu(spectral.SNConv(4, (3, 3), name='conv0')(x))
        h = nn.relu(spectral.SNConv(6, (4, 4), (2, 2), name='conv1')(h)).sum((1, 2))
        projection = (h * spectral.SNEmbed(3, 6, name='embed')(labels)).sum(-1)
        return spectral.SNDense(1, name='dense')(h)[:, 0] + projection


class Critic(nnx.Module):
    def __init__(self, rngs):
        self.conv0 = SNConv(1, 4, (3, 3), rngs=rngs)
        self.conv1 = SNConv(4, 6, (4, 4), (2, 2), rngs=rngs)
        self.embed = SNEmbed(3, 6, rngs=rngs)
        self.dense = SNLinear(6, 1, rngs=rngs)

    def __call__(self, x, labels, update_stats=None):
        h = nn.relu(self.conv0(x, update_stats))
        h = nn.relu(self.conv1(h, update_stats)).sum((1, 2))
        projection = (h * self.embed(labels, update_stats)).sum(-1)
        return self.dense(h, update_stats)[:, 0] + projection


def generated(gen, z):
    return jnp.tanh(z @ gen).reshape(-1, 6, 6, 1)


def draws(step):
    z, real = np.random.default_rng([1, step]).standard_normal((2, 4, 36)).astype(np.float32)
    return jnp.asarray(z[:, :5]), jnp.asarray(real).reshape(4, 6, 6, 1), jnp.arange(4) % 3


@pytest.mark.slow  # 100 updates; the layers one by one are compared above
def test_a_small_gan_has_the_same_bits_after_a_hundred_updates():
    model = Critic(nnx.Rngs(0))
    # Paths are equal: conv0/kernel, conv0/u, ...
    state = nnx.to_pure_dict(nnx.state(model))
    vectors = {name: layer.pop('spectral') for name, layer in state.items()}
    variables = {'params': state, 'spectral': vectors}
    gen = jnp.asarray(np.random.default_rng(0).standard_normal((5, 36)), jnp.float32) / 4
    tx = optax.adam(1e-3, b1=0.0)

    @jax.jit
    def linen_update(variables, opt_state, gen, z, real, labels):
        vectors = spectral.advance(LinenCritic(), variables, real, labels)

        def dis_loss(params):
            def score(images):
                return LinenCritic().apply({'params': params, 'spectral': vectors}, images, labels)

            fake = score(generated(gen, z))
            return nn.relu(1 - score(real)).mean() + nn.relu(1 + fake).mean()

        grads = jax.grad(dis_loss)(variables['params'])
        updates, opt_state = tx.update(grads, opt_state, variables['params'])
        new = {'params': optax.apply_updates(variables['params'], updates), 'spectral': vectors}

        def gen_loss(gen):
            return -LinenCritic().apply(new, generated(gen, z), labels).mean()

        return new, opt_state, gen - 0.01 * jax.grad(gen_loss)(gen)

    @nnx.jit
    def nnx_update(model, optimizer, gen, z, real, labels):
        model.train()
        model(real, labels)
        model.eval()

        def dis_loss(model):
            fake = model(generated(gen, z), labels)
            return nn.relu(1 - model(real, labels)).mean() + nn.relu(1 + fake).mean()

        optimizer.update(model, nnx.grad(dis_loss)(model))
        return gen - 0.01 * jax.grad(lambda gen: -model(generated(gen, z), labels).mean())(gen)

    optimizer, ours = nnx.Optimizer(model, tx, wrt=nnx.Param), gen
    opt_state = tx.init(variables['params'])
    for step in range(100):
        batch = draws(step)
        variables, opt_state, gen = linen_update(variables, opt_state, gen, *batch)
        ours = nnx_update(model, optimizer, ours, *batch)
    state = nnx.to_pure_dict(nnx.state(model))
    found = {name: layer.pop('spectral') for name, layer in state.items()}
    assert_same_bits({'spectral': found, 'params': state}, variables)
    assert_same_bits(ours, gen)
    assert not np.array_equal(found['conv1']['u'], vectors['conv1']['u'])
    for name in ('conv0', 'conv1', 'dense', 'embed'):
        weight = next(w for key, w in state[name].items() if key != 'bias')
        assert float(found[name]['sigma']) == pytest.approx(largest_singular_value(weight), rel=0.1)


# ---- modes and transformations


def arrays(layer, kind):
    return jax.tree.map(np.asarray, nnx.to_pure_dict(nnx.state(layer, kind)))


@pytest.mark.parametrize('name', ['dense', 'conv', 'conv_transpose', 'embed'])
def test_training_moves_u_to_the_singular_vector_and_no_mode_moves_the_parameter(name):
    *_, layer, x = pair(name)
    params = arrays(layer, nnx.Param)
    run = nnx.jit(lambda layer, x: layer(x))
    for _ in range(60):
        y = run(layer, x)
    weight = params.get('kernel', params.get('embedding'))
    sigma = largest_singular_value(weight)
    assert float(layer.spectral.sigma[...]) == pytest.approx(sigma, rel=1e-5)
    assert np.linalg.svd(np.float64(layer.normalized(False)).reshape(-1, weight.shape[-1]))[1][
        0
    ] == (pytest.approx(1, rel=1e-5))
    moved = arrays(layer, Spectral)
    layer.eval()
    np.testing.assert_allclose(run(layer, x), y, rtol=1e-5, atol=1e-6)
    assert_same_bits(arrays(layer, Spectral), moved)
    layer.train()
    run(layer, x)
    assert_same_bits(arrays(layer, nnx.Param), params)


def test_the_argument_goes_before_the_mode():
    layer, x = SNLinear(5, 7, update_stats=False, rngs=nnx.Rngs(0)), jnp.ones((1, 5))
    before = arrays(layer, Spectral)
    layer(x)
    assert_same_bits(arrays(layer, Spectral), before)
    layer(x, update_stats=True)
    moved = arrays(layer, Spectral)
    assert not np.array_equal(moved['spectral']['u'], before['spectral']['u'])
    layer.train()
    layer(x, update_stats=False)
    assert_same_bits(arrays(layer, Spectral), moved)
    # Nothing is written in evaluation, so a program may close over the layer.
    layer.eval()
    np.testing.assert_allclose(jax.jit(lambda x: layer(x))(x), layer(x), rtol=1e-6)


def test_gradients_hold_u_and_v_and_reach_sigma():
    layer, x = SNLinear(5, 7, use_bias=False, rngs=nnx.Rngs(0)), jnp.ones((2, 5))
    layer(x)
    w, u, v = (np.float64(a[...]) for a in (layer.kernel, layer.spectral.u, layer.spectral.v))
    grads = nnx.grad(lambda layer: layer(x, update_stats=False).sum())(layer)
    # d/dW sum(x W / sigma) with sigma = v^T W u.
    sigma, direct = v @ w @ u, np.float64(x).sum(0)[:, None] * np.ones(7)
    expected = direct / sigma - (direct * w).sum() / sigma**2 * np.outer(v, u)
    np.testing.assert_allclose(grads['kernel'][...], expected, rtol=1e-4, atol=1e-5)
    assert set(nnx.to_pure_dict(grads)) == {'kernel'}
    # In training, u advances inside nnx.grad and stays.
    before = arrays(layer, Spectral)
    nnx.grad(lambda layer: layer(x).sum())(layer)
    assert not np.array_equal(arrays(layer, Spectral)['spectral']['u'], before['spectral']['u'])


def test_vmap_keeps_vectors_of_every_layer_and_split_merge_keeps_the_mode():
    @nnx.vmap
    def make(key):
        return SNLinear(5, 7, rngs=nnx.Rngs(key))

    layers, x = make(jax.random.split(jax.random.key(0), 3)), jnp.ones((2, 5))
    assert layers.spectral.u.shape == (3, 7)
    y = nnx.vmap(lambda layer: layer(x))(layers)
    graph, params, rest = nnx.split(layers, nnx.Param, ...)
    for i in range(3):
        one = nnx.merge(graph, *(jax.tree.map(lambda a, i=i: a[i], s) for s in (params, rest)))
        assert isinstance(one, SNLinear) and not one.use_running_average
        np.testing.assert_allclose(one(x, update_stats=False), y[i], rtol=1e-5, atol=1e-6)
        w, u = np.float64(one.kernel[...]), np.float64(one.spectral.u[...])
        assert float(one.spectral.sigma[...]) <= largest_singular_value(w) * (1 + 1e-6)
        assert np.linalg.norm(u) == pytest.approx(1, abs=1e-6)
    with pytest.raises(AssertionError):
        np.testing.assert_allclose(y[0], y[1])


# ---- the arguments of the namesakes

NAMESAKES = {
    'linear': (SNLinear, nnx.Linear, (5, 7), {'dot_general': jax.lax.dot_general}, (2, 5)),
    'batches': (SNConv, nnx.Conv, (3, 4, (3, 3)), {'padding': 'VALID'}, (2, 2, 4, 4, 3)),
    'one_image': (SNConv, nnx.Conv, (3, 4, (3, 3)), {'padding': 'REFLECT'}, (4, 4, 3)),
    'circular': (SNConv, nnx.Conv, (3, 4, (4, 3), 2), {'padding': 'CIRCULAR'}, IMAGE),
    'reflect': (SNConv, nnx.Conv, (3, 4, (3, 3)), {'padding': 'REFLECT'}, IMAGE),
    'causal': (SNConv, nnx.Conv, (3, 4, 3), {'padding': 'CAUSAL', 'kernel_dilation': 2}, (2, 6, 3)),
    'input_dilation': (
        SNConv,
        nnx.Conv,
        (3, 4, (3, 3)),
        {'input_dilation': 2, 'padding': [(1, 1), (1, 1)]},
        IMAGE,
    ),
    'precision': (SNConv, nnx.Conv, (3, 4, (3, 3)), {'precision': 'highest'}, IMAGE),
    'transposed_batches': (
        SNConvTranspose,
        nnx.ConvTranspose,
        (3, 4, (4, 4), 2),
        {},
        (2, 2, 4, 4, 3),
    ),
    'transposed_circular': (
        SNConvTranspose,
        nnx.ConvTranspose,
        (3, 4, (4, 4), (2, 2)),
        {'padding': 'CIRCULAR'},
        IMAGE,
    ),
    'transposed_kernel': (
        SNConvTranspose,
        nnx.ConvTranspose,
        (3, 4, (4, 4), (2, 2)),
        {'transpose_kernel': True},
        IMAGE,
    ),
    'embed': (SNEmbed, nnx.Embed, (6, 4), {}, None),
}


@pytest.mark.parametrize('name', NAMESAKES)
def test_the_layers_are_their_namesakes_over_sigma(name):
    ours, theirs, sizes, arguments, shape = NAMESAKES[name]
    layer = ours(*sizes, **arguments, rngs=nnx.Rngs(3))
    plain = theirs(*sizes, **arguments, rngs=nnx.Rngs(3))
    assert isinstance(layer, theirs)
    assert_same_bits(arrays(layer, nnx.Param), arrays(plain, nnx.Param))
    rng = np.random.default_rng(0)
    x = jnp.arange(5) if shape is None else jnp.asarray(rng.standard_normal(shape), jnp.float32)
    y = nnx.jit(lambda layer: layer(x))(layer)
    np.testing.assert_allclose(y * layer.spectral.sigma[...], plain(x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize('name', ['circular', 'causal', 'transposed_circular', 'transposed_kernel'])
def test_the_exact_operator_knows_every_padding(name):
    """sigma of the layer's own map, against the SVD of its matrix of columns."""
    ours, theirs, sizes, arguments, shape = NAMESAKES[name]
    options = {'operator': 'convolution', 'n_warmup_iterations': 200, 'use_bias': False}
    layer = ours(*sizes, **arguments, **options, image_shape=shape[1:-1], rngs=nnx.Rngs(3))
    plain = theirs(*sizes, **arguments, use_bias=False, rngs=nnx.Rngs(3))
    inputs = np.eye(np.prod(shape[1:]), dtype=np.float32).reshape(-1, *shape[1:])
    matrix = np.float64(plain(inputs)).reshape(len(inputs), -1)
    norm = np.linalg.svd(matrix, compute_uv=False)[0]
    assert float(layer.spectral.sigma[...]) == pytest.approx(norm, rel=1e-3)


def test_a_transposed_kernel_is_seen_as_inputs_by_outputs():
    layer = SNConvTranspose(3, 4, (2, 2), transpose_kernel=True, rngs=nnx.Rngs(0))
    assert layer.kernel.shape == (2, 2, 4, 3)
    assert (layer.spectral.u.shape, layer.spectral.v.shape) == ((4,), (12,))


def test_a_masked_kernel_is_normalized_as_it_is_applied():
    mask = np.zeros((3, 3, 2, 4), np.float32)
    mask[1, 1] = 0.5
    layer = SNConv(
        2, 4, (3, 3), mask=mask, use_bias=False, n_warmup_iterations=50, rngs=nnx.Rngs(0)
    )
    applied = np.float64(layer.kernel[...] * mask)
    sigma = largest_singular_value(applied)
    assert float(layer.spectral.sigma[...]) == pytest.approx(sigma, rel=1e-5)
    x = jnp.ones((1, 1, 1, 2))
    expected = np.float64(x[0, 0, 0]) @ applied[1, 1] / sigma
    np.testing.assert_allclose(layer(x)[0, 0, 0], expected, rtol=1e-4)
    layer.mask = mask[0]
    with pytest.raises(ValueError, match='SNConv mask has the shape'):
        layer(x)


def test_embeddings_mix_and_attend_with_the_normalized_table():
    layer = SNEmbed(6, 4, u_over='rows', n_warmup_iterations=50, rngs=nnx.Rngs(0))
    assert (layer.spectral.u.shape, layer.spectral.v.shape) == ((6,), (4,))
    table = np.float64(layer.embedding[...]) / largest_singular_value(layer.embedding[...])
    weights, query = np.eye(6, dtype=np.float32)[:2] / 2, np.ones((3, 4), np.float32)
    np.testing.assert_allclose(layer(jnp.asarray(weights)), table[:2] / 2, rtol=1e-4)
    np.testing.assert_allclose(
        layer.attend(jnp.asarray(query)), query @ table.T, rtol=1e-4, atol=1e-6
    )


@pytest.mark.parametrize(
    ('make', 'message'),
    [
        (lambda r: SNLinear(2, 2, operator='exact', rngs=r), "SNLinear operator='exact': accepted"),
        (lambda r: SNLinear(2, 2, lipschitz=0, rngs=r), 'SNLinear lipschitz=0'),
        (lambda r: SNLinear(2, 2, divide=False, lipschitz=2.0, rngs=r), 'applies the raw weight'),
        (
            lambda r: SNConv(2, 2, (3, 3), operator='convolution', rngs=r),
            r'as image_shape=\(32, 32',
        ),
        (lambda r: SNEmbed(2, 2, u_over='row', rngs=r), "SNEmbed u_over='row': accepted are"),
        (lambda r: SNEmbed(3, 2, rngs=r)(jnp.ones((1, 2))), 'float weights'),
    ],
)
def test_bad_options_are_one_line(own_errors, make, message):
    with pytest.raises(ValueError, match=message) as caught:
        make(nnx.Rngs(0))
    assert '\n' not in str(caught.value)
