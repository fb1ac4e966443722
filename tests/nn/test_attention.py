"""Self-attention against NumPy, and its place in the networks."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict

from snjax import models
from snjax.nn.attention import SelfAttention, attended_block

# Small programs run once: compiling them costs far more than running them.
jit = functools.partial(jax.jit, compiler_options={'xla_backend_optimization_level': 0})


def draw(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def parameters(c, gamma):
    """Kernels of C/8, C/8, C/2 and C channels."""
    widths = {'query': (c, c // 8), 'key': (c, c // 8), 'value': (c, c // 2), 'out': (c // 2, c)}
    kernels = {k: {'kernel': draw(1, 1, *s, seed=i)} for i, (k, s) in enumerate(widths.items())}
    return {**kernels, 'gamma': np.float32(gamma)}


def pooled(x):
    """2x2 max pooling by a loop."""
    b, h, w, c = x.shape
    y = np.empty((b, h // 2, w // 2, c))
    for i in range(h // 2):
        for j in range(w // 2):
            y[:, i, j] = x[:, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2].max((1, 2))
    return y


def definition(x, params):
    """SAGAN's layer in float64, one pixel of one image at a time."""
    x = x.astype(np.float64)
    w = {k: v['kernel'][0, 0].astype(np.float64) for k, v in params.items() if k != 'gamma'}
    y = np.empty_like(x)
    for n, image in enumerate(x):
        keys = pooled((image @ w['key'])[None])[0].reshape(-1, w['key'].shape[1])
        values = pooled((image @ w['value'])[None])[0].reshape(-1, w['value'].shape[1])
        for i in range(image.shape[0]):
            for j in range(image.shape[1]):
                scores = keys @ (image[i, j] @ w['query'])
                attention = np.exp(scores - scores.max())
                attention /= attention.sum()
                y[n, i, j] = image[i, j] + params['gamma'] * (attention @ values @ w['out'])
    return y


@pytest.mark.parametrize('shape', [(2, 4, 6, 16), (1, 2, 2, 8)])
def test_attention_against_numpy(shape):
    x, params = draw(*shape, seed=9), parameters(shape[-1], gamma=0.7)
    y = jit(SelfAttention().apply)({'params': params}, x)
    np.testing.assert_allclose(y, definition(x, params), rtol=1e-4, atol=1e-4)
    assert float(np.abs(y - x).max()) > 0.5


def test_attention_starts_as_the_identity():
    x = jnp.asarray(draw(2, 4, 4, 16, seed=9))
    y, variables = jit(SelfAttention().init_with_output)(jax.random.key(0, impl='rbg'), x)
    np.testing.assert_array_equal(y, x)
    params = variables['params']
    assert params['gamma'].shape == () and float(params['gamma']) == 0
    shapes = {k: set(v) for k, v in params.items() if k != 'gamma'}
    assert shapes == {k: {'kernel'} for k in ('query', 'key', 'value', 'out')}
    # At gamma = 0 only gamma has a gradient.
    loss = lambda p: jnp.sum(jnp.sin(SelfAttention().apply({'params': p}, x)))  # noqa: E731
    gradient = jit(jax.grad(loss))(params)
    assert abs(float(gradient['gamma'])) > 1e-3
    np.testing.assert_array_equal(gradient['query']['kernel'], 0)


def test_bfloat16_stays_close():
    x, params = draw(2, 4, 4, 16, seed=9), parameters(16, gamma=0.7)
    full = jit(SelfAttention().apply)({'params': params}, x)
    half = jit(SelfAttention(dtype=jnp.bfloat16).apply)(
        {'params': params}, jnp.asarray(x, jnp.bfloat16)
    )
    assert half.dtype == jnp.bfloat16
    error = np.linalg.norm(np.float32(half) - full) / np.linalg.norm(full)
    assert 1e-5 < error < 0.05


# --- in the networks


def heights(module, *args):
    """Shape of the attention's input in a network."""

    def run(rng):
        is_attention = lambda m, _: isinstance(m, SelfAttention)  # noqa: E731
        return module.init(rng, *args, train=True, capture_intermediates=is_attention)

    return jax.eval_shape(run, jax.random.key(0))['intermediates']['attention']['__call__'][0].shape


@pytest.mark.parametrize(
    ('image_size', 'attention', 'gen', 'dis'),
    [
        # SAGAN's place: 32 px of an image of 128, channels 256 and 128.
        (128, 32, (2, 32, 32, 256), (2, 32, 32, 128)),
        (32, 16, (2, 16, 16, 64), (2, 16, 16, 64)),
        # The discriminator at 32 px has three maps of 8 px: the first of them.
        (32, 8, (2, 8, 8, 64), (2, 8, 8, 64)),
    ],
)
def test_attention_follows_the_block_of_its_height(image_size, attention, gen, dis):
    kwargs = {'architecture': 'resnet', 'image_size': image_size, 'attention': attention}
    generator = models.make_generator(gen_width=64, **kwargs)
    discriminator = models.make_discriminator(dis_width=64, **kwargs)
    assert heights(generator, jnp.zeros((2, 8))) == gen
    assert heights(discriminator, jnp.zeros((2, image_size, image_size, 3))) == dis


def test_attention_of_a_spectral_network_is_spectral():
    """SAGAN normalizes all kernels of both players, the attention's four too."""
    kwargs = {'architecture': 'resnet', 'image_size': 16, 'attention': 8}
    gen = models.make_generator(gen_width=8, layers=models.SPECTRAL, **kwargs)
    dis = models.make_discriminator(dis_width=8, **kwargs)
    for module, x in ((gen, jnp.zeros((2, 8))), (dis, jnp.zeros((2, 16, 16, 3)))):
        init = functools.partial(module.init, train=True)
        variables = jax.eval_shape(init, jax.random.key(0), x)
        params, state = (flatten_dict(variables[k], sep='/') for k in ('params', 'spectral'))
        kernels = {k.removesuffix('/kernel') for k in params if k.endswith('/kernel')}
        assert {k.removesuffix('/sigma') for k in state if k.endswith('/sigma')} == kernels
        assert {f'attention/{k}' for k in ('query', 'key', 'value', 'out')} < kernels


def test_zero_is_no_attention():
    assert attended_block(0, [(8, 8), (16, 16)], 'generator') is None
    assert attended_block(16, [(n, n) for n in (32, 16, 16, 8)], 'discriminator') == 1


@pytest.mark.parametrize(
    ('make', 'image_size', 'attention', 'message'),
    [
        ('gen', 32, 4, r'attention is 4: the 32 px generator .* height 8, 16, 32, and 0 is none'),
        ('dis', 32, 32, r'attention is 32: the 32 px discriminator .* height 16, 8, and 0'),
        # A map of 3 px cannot be pooled.
        ('dis', 48, 3, r'attention is 3: the 48 px discriminator .* height 24, 12, 6, and 0'),
    ],
)
def test_impossible_heights_are_named_in_one_line(make, image_size, attention, message):
    kwargs = {'architecture': 'resnet', 'image_size': image_size, 'attention': attention}
    with pytest.raises(ValueError, match=message) as error:
        if make == 'gen':
            models.make_generator(gen_width=4, **kwargs)
        else:
            models.make_discriminator(dis_width=4, **kwargs)
    assert '\n' not in str(error.value)
    assert '--config.model.attention' in str(error.value)


def test_only_the_resnets_have_attention():
    kwargs = {'architecture': 'sngan_cnn', 'image_size': 32, 'attention': 16}
    with pytest.raises(ValueError, match=r"attention is 16: .* only 'resnet', 'biggan'"):
        models.make_generator(gen_width=4, **kwargs)
    with pytest.raises(ValueError, match=r"attention is 16: .* only 'resnet', 'biggan'"):
        models.make_discriminator(dis_width=4, **kwargs)
