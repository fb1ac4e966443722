"""Generators and discriminators against published parameter counts and plain operations."""

import functools
import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict
from jax import lax

from snjax import cost, layers, models, spectral
from snjax.models import dcgan, resnet

DIM_Z = 128
# Small programs run once: compiling them costs far more than running them.
jit = functools.partial(jax.jit, compiler_options={'xla_backend_optimization_level': 0})


def small_generator(**kwargs):
    return models.make_generator(**{'image_size': 16, 'gen_width': 4, **kwargs})


def small_discriminator(**kwargs):
    return models.make_discriminator(**{'image_size': 16, 'dis_width': 4, **kwargs})


def normal(*shape, seed=1):
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape), jnp.float32)


def images(*shape):
    return jnp.asarray(np.tanh(normal(*shape, seed=2)))


def init(module, x):
    """What `init` draws."""
    rng = jax.random.key(0, impl='rbg')  # compiles faster than threefry
    return jit(functools.partial(module.init, train=True))(rng, x)


def init_shapes(module, x, **kwargs):
    return jax.eval_shape(functools.partial(module.init, **kwargs), jax.random.key(0), x)


def filled(shapes, *, neutral=True):
    """Variables drawn by NumPy: nothing to compile where the initial values do not matter.

    Biases are 0, scales 1 and running statistics untouched if `neutral`, else all are random.
    """
    rng = np.random.default_rng(3)

    def fill(path, leaf):
        constant = {'bias': 0, 'scale': 1, 'mean': 0, 'var': 1, 'v': 0, 'sigma': 0}
        value = constant.get(path[-1].key)
        if value is None or not neutral:
            value = (value or 0) + rng.standard_normal(leaf.shape) / np.sqrt(leaf.size) * 3
        return jnp.full(leaf.shape, value, leaf.dtype)

    return jax.tree_util.tree_map_with_path(fill, shapes)


def variables_of(module, x):
    return filled(init_shapes(module, x, train=True))


def parameters(module, x):
    return sum(leaf.size for leaf in jax.tree.leaves(init_shapes(module, x, train=True)['params']))


# --- the published networks


@pytest.mark.parametrize(
    ('architecture', 'image_size', 'width', 'variant', 'count'),
    [
        ('resnet', 32, 256, 'paper', 4_276_739),
        ('resnet', 48, 64, 'paper', 4_878_083),
        ('resnet', 128, 64, 'paper', 32_150_787),
        ('standard', 32, 64, 'paper', 3_812_355),
        ('standard', 32, 64, 'code', 3_828_739),
    ],
)
def test_generator_has_published_parameter_count(architecture, image_size, width, variant, count):
    gen = models.make_generator(
        architecture=architecture, image_size=image_size, gen_width=width, variant=variant
    )
    assert parameters(gen, jnp.zeros((2, DIM_Z))) == count


@pytest.mark.parametrize('normalization', ['spectral', 'none'])
@pytest.mark.parametrize(
    ('architecture', 'image_size', 'width', 'variant', 'count'),
    [
        ('resnet', 32, 128, 'paper', 1_053_824),
        ('resnet', 48, 64, 'paper', 10_141_441),
        ('resnet', 128, 64, 'paper', 29_017_857),
        ('standard', 32, 64, 'paper', 2_935_873),
        ('standard', 48, 64, 'paper', 2_946_113),
        ('standard', 32, 64, 'code', 5_860_865),
        ('standard', 48, 64, 'code', 5_871_105),
    ],
)
def test_discriminator_has_published_parameter_count(
    architecture, image_size, width, variant, normalization, count
):
    dis = models.make_discriminator(
        architecture=architecture,
        image_size=image_size,
        dis_width=width,
        variant=variant,
        normalization=normalization,
    )
    assert parameters(dis, jnp.zeros((2, image_size, image_size, 3))) == count


def block_outputs(module, x):
    """{'block1': (height, width, channels), ...} of every block, in order."""

    def run(rng):
        is_block = lambda m, _: type(m) in (resnet.UpBlock, resnet.DownBlock)  # noqa: E731
        variables = module.init(rng, x, train=True, capture_intermediates=is_block)
        return variables['intermediates']

    shapes = jax.eval_shape(run, jax.random.key(0))
    return [shapes[f'block{i + 1}']['__call__'][0].shape[1:] for i in range(len(shapes))]


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
    project = init_shapes(generator, z, train=True)['params']['project']['kernel']
    assert project.shape == (DIM_Z, bottom * bottom * first)

    x = jnp.zeros((2, image_size, image_size, 3))
    discriminator = resnet.ResNetDiscriminator(image_size=image_size, width=64)
    assert block_outputs(discriminator, x) == [(s, s, c) for s, c in dis]
    score = init_shapes(discriminator, x, train=True)['params']['score']
    assert score['kernel'].shape == (dis[-1][1], 1)
    assert ('bias' in score) == (image_size != 32)


def test_resnet_discriminator_hidden_layers_and_shortcuts():
    shapes = jax.tree.map(
        lambda leaf: leaf.shape,
        init_shapes(resnet.ResNetDiscriminator(48, 64), jnp.zeros((2, 48, 48, 3)), train=True)[
            'params'
        ],
    )
    # The first block is as wide inside as its output, every other one as its input.
    assert shapes['block1']['conv1']['kernel'] == (3, 3, 3, 64)
    assert shapes['block3']['conv1']['kernel'] == (3, 3, 128, 128)
    assert shapes['block3']['conv2']['kernel'] == (3, 3, 128, 256)
    assert shapes['block5']['shortcut']['kernel'] == (1, 1, 512, 1024)
    small = init_shapes(resnet.ResNetDiscriminator(32, 64), jnp.zeros((2, 32, 32, 3)), train=True)[
        'params'
    ]
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
    module = dcgan.StandardDiscriminator(image_size=48, variant=variant)
    shapes = init_shapes(module, jnp.zeros((2, 48, 48, 3)), train=True)['params']
    kernels = [shapes[f'conv{i}']['kernel'].shape for i in range(1, 8)]
    sizes = [3, 4, 3, 4, 3, 4, 3]
    assert kernels == [
        (k, k, i, o) for k, i, o in zip(sizes, [3, *channels[:-1]], channels, strict=True)
    ]
    assert shapes['score']['kernel'].shape == (6 * 6 * 512, 1)


def test_standard_generator_norm_after_the_dense_layer():
    z = jnp.zeros((2, DIM_Z))
    code = init_shapes(dcgan.StandardGenerator(image_size=32, variant='code'), z, train=True)[
        'params'
    ]
    paper = init_shapes(dcgan.StandardGenerator(image_size=32, variant='paper'), z, train=True)[
        'params'
    ]
    assert code['norm0']['scale'].shape == (4 * 4 * 512,)
    assert set(code) - set(paper) == {'norm0'}
    assert [code[f'deconv{i}']['kernel'].shape for i in (1, 2, 3)] == [
        (4, 4, 512, 256),
        (4, 4, 256, 128),
        (4, 4, 128, 64),
    ]


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
    norm = resnet.batch_norm(train=True, axis_name=None, dtype=jnp.float32)
    block = resnet.UpBlock(6, conv=layers.Conv, norm=norm)
    x = 3 * normal(4, 4, 4, 5) + 1
    variables = filled(init_shapes(block, x), neutral=False)
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
    variables = filled(init_shapes(block, x), neutral=False)

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
        architecture='resnet', image_size=image_size, normalization='none', dis_width=3
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
        architecture='standard', variant=variant, normalization='none', dis_width=1
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
        gen = small_generator(architecture='standard', variant=variant, gen_width=2)
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


@pytest.mark.parametrize('architecture', ['resnet', 'standard'])
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
    gen = small_generator(architecture='standard', image_size=image_size)
    dis = small_discriminator(architecture='standard', image_size=image_size)

    def both(rng):
        fake, _ = gen.init_with_output(rng, jnp.zeros((2, DIM_Z)), train=True)
        logits, _ = dis.init_with_output(rng, fake, train=True)
        return fake, logits

    fake, logits = jax.eval_shape(both, jax.random.key(0))
    assert fake.shape == (2, image_size, image_size, 3)
    assert logits.shape == (2,)


# --- initialisation


def test_resnet_initialisation_is_glorot_uniform_with_its_gains():
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


def test_standard_initialisation_is_normal():
    gen = init(dcgan.StandardGenerator(16, 16), normal(2, DIM_Z))['params']
    dis = init(dcgan.StandardDiscriminator(16, 16), images(2, 16, 16, 3))['params']
    for path, leaf in {**flatten_dict({'gen': gen}), **flatten_dict({'dis': dis})}.items():
        if path[-1] == 'kernel':
            # Five standard errors of a standard deviation.
            assert abs(float(leaf.std()) / 0.02 - 1) < 5 / np.sqrt(2 * leaf.size), path
            assert abs(float(leaf.mean())) < 5 * 0.02 / np.sqrt(leaf.size), path
        elif path[-1] == 'bias':
            np.testing.assert_array_equal(leaf, 0, err_msg=str(path))


# --- batch norm


@pytest.fixture(scope='module')
def generator_run():
    """A small ResNet generator, its variables and functions for one step in either mode."""
    gen = small_generator(architecture='resnet')
    variables = variables_of(gen, normal(2, DIM_Z))
    train = jit(functools.partial(gen.apply, train=True, mutable=['batch_stats']))
    evaluate = jit(functools.partial(gen.apply, train=False))
    return variables, train, evaluate


def test_training_updates_running_statistics_with_decay_point_nine(generator_run):
    variables, train, _ = generator_run
    z = normal(6, DIM_Z)
    _, updated = train(variables, z)
    kernel = np.asarray(variables['params']['project']['kernel'], np.float64)
    h = (np.asarray(z, np.float64) @ kernel).reshape(-1, 4)
    before = variables['batch_stats']['block1']['norm1']
    np.testing.assert_array_equal(before['mean'], 0)
    np.testing.assert_array_equal(before['var'], 1)
    after = updated['batch_stats']['block1']['norm1']
    np.testing.assert_allclose(after['mean'], 0.1 * h.mean(0), atol=1e-6)
    np.testing.assert_allclose(after['var'], 0.9 + 0.1 * h.var(0), rtol=1e-5)

    _, again = train({**variables, **updated}, z)
    after = again['batch_stats']['block1']['norm1']
    np.testing.assert_allclose(after['mean'], 0.19 * h.mean(0), atol=1e-6)
    np.testing.assert_allclose(after['var'], 0.81 + 0.19 * h.var(0), rtol=1e-5)


def test_evaluation_uses_running_statistics(generator_run):
    variables, train, evaluate = generator_run
    z = normal(6, DIM_Z)
    alone, among = evaluate(variables, z[:1]), evaluate(variables, z)[:1]
    np.testing.assert_allclose(alone, among, atol=1e-5)
    batch, _ = train(variables, z)
    assert float(jnp.abs(batch[:1] - among).max()) > 1e-2
    # With the running statistics set to the batch's, evaluation gives what training gave.
    state = variables
    for _ in range(200):
        state = {**state, **train(state, z)[1]}
    np.testing.assert_allclose(evaluate(state, z), batch, atol=1e-3)


@pytest.mark.parametrize(('architecture', 'variant'), [('resnet', 'paper'), ('standard', 'code')])
def test_batch_norm_axis_shares_statistics(architecture, variant):
    z = normal(8, DIM_Z) + jnp.arange(8.0)[:, None] / 4  # halves that differ
    fakes, statistics = {}, {}
    for axis in (None, 'batch'):
        gen = small_generator(
            architecture=architecture, variant=variant, gen_width=2, batch_norm_axis=axis
        )
        variables = variables_of(gen, z)
        apply = functools.partial(gen.apply, variables, train=True, mutable=['batch_stats'])
        fake, updated = jit(jax.vmap(apply, axis_name='batch'))(z.reshape(2, 4, DIM_Z))
        fakes[axis], statistics[axis] = fake.reshape(8, 16, 16, 3), updated
        if axis is None:
            whole, expected = jit(apply)(z)
    np.testing.assert_allclose(fakes['batch'], whole, atol=1e-4)
    assert float(jnp.abs(fakes[None] - whole).max()) > 1e-3
    for half in (0, 1):
        jax.tree.map(
            lambda a, b, half=half: np.testing.assert_allclose(a[half], b, rtol=1e-4, atol=1e-4),
            statistics['batch'],
            expected,
        )


# --- spectral normalisation


@pytest.mark.parametrize(('architecture', 'variant'), [('resnet', 'paper'), ('standard', 'code')])
def test_every_discriminator_kernel_is_divided_by_its_largest_singular_value(architecture, variant):
    kwargs = {'architecture': architecture, 'variant': variant, 'dis_width': 2}
    dis = small_discriminator(n_power_iterations=8, **kwargs)
    x = images(2, 16, 16, 3)
    variables = variables_of(dis, x)
    advance = jit(lambda v: spectral.advance(dis, v, x, train=True))
    for _ in range(60):
        variables = {**variables, 'spectral': advance(variables)}

    sigmas = spectral.sigmas(variables['spectral'])
    params = flatten_dict(variables['params'], sep='/')
    kernels = {p.removesuffix('/kernel'): w for p, w in params.items() if p.endswith('/kernel')}
    assert set(sigmas) == set(kernels)
    assert sum('shortcut' in path for path in sigmas) == (2 if architecture == 'resnet' else 0)
    assert 'score' in sigmas
    plain = jax.tree.map(jnp.copy, variables['params'])
    for path, kernel in kernels.items():
        exact = np.linalg.svd(np.reshape(kernel, (-1, kernel.shape[-1])), compute_uv=False)[0]
        np.testing.assert_allclose(sigmas[path], exact, rtol=1e-3, err_msg=path)
        functools.reduce(dict.__getitem__, path.split('/'), plain)['kernel'] /= exact

    expected = jit(
        functools.partial(small_discriminator(normalization='none', **kwargs).apply, train=True)
    )({'params': plain}, x)
    frozen = jit(functools.partial(dis.apply, train=True))(variables, x)
    assert abs(float(frozen[0] - frozen[1])) > 1e-3
    np.testing.assert_allclose(frozen, expected, rtol=5e-3, atol=1e-6)


def test_only_a_spectral_discriminator_has_the_collection():
    x, z = jnp.zeros((2, 16, 16, 3)), jnp.zeros((2, DIM_Z))
    for architecture in ('resnet', 'standard'):
        gen = small_generator(architecture=architecture)
        assert set(init_shapes(gen, z, train=True)) == {'params', 'batch_stats'}
        none = small_discriminator(architecture=architecture, normalization='none')
        assert set(init_shapes(none, x, train=True)) == {'params'}
        sn = small_discriminator(architecture=architecture)
        assert set(init_shapes(sn, x, train=True)) == {'params', 'spectral'}


def test_iteration_counts_reach_the_layers():
    dis = small_discriminator(architecture='resnet', n_power_iterations=3, n_warmup_iterations=15)
    for layer in (dis.conv(4, 3), dis.dense(1)):
        assert (layer.n_power_iterations, layer.n_warmup_iterations) == (3, 15)


# --- compute types


@pytest.mark.parametrize('architecture', ['resnet', 'standard'])
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


# --- errors


@pytest.mark.parametrize(
    ('make', 'kwargs', 'message'),
    [
        ('gen', {'architecture': 'resnt'}, r"architecture is 'resnt'.*nearest is 'resnet'"),
        ('dis', {'architecture': 'standart'}, r"nearest is 'standard'"),
        ('gen', {'architecture': 'resnet', 'variant': 'cod'}, r"variant is 'cod'.*'paper', 'code'"),
        ('dis', {'architecture': 'standard', 'variant': 'papr'}, r"nearest is 'paper'"),
        (
            'dis',
            {'architecture': 'resnet', 'normalization': 'spectrall'},
            r"normalization is 'spectrall'.*nearest is 'spectral'",
        ),
        ('gen', {'architecture': 'resnet', 'dtype': 'float16'}, r"dtype is 'float16'.*'bfloat16'"),
        ('gen', {'architecture': 'resnet', 'image_size': 40}, r'is 40: .*nearest are 32 and 48'),
        ('dis', {'architecture': 'resnet', 'image_size': 8}, r'is 8: .*nearest are 16 and 32'),
        ('dis', {'architecture': 'resnet', 'image_size': 512}, r'nearest are 128 and 256'),
        ('gen', {'architecture': 'standard', 'image_size': 28}, r'is 28: .*nearest are 24 and 32'),
        ('dis', {'architecture': 'standard', 'image_size': 8}, r'is 8: .*nearest are 16 and 24'),
        ('gen', {'architecture': 'resnet', 'gen_width': 0}, r'gen_width is 0'),
        ('gen', {'architecture': 'resnet', 'channels': 0}, r'channels is 0'),
        ('dis', {'architecture': 'resnet', 'dis_width': 1.5}, r'dis_width is 1.5'),
        ('dis', {'architecture': 'resnet', 'n_power_iterations': 0}, r'n_power_iterations is 0'),
        ('dis', {'architecture': 'resnet', 'n_warmup_iterations': -1}, r'n_warmup_iterations is'),
    ],
)
def test_what_is_not_accepted_is_named_in_one_line(own_errors, make, kwargs, message):
    with pytest.raises(ValueError, match=message) as error:
        {'gen': small_generator, 'dis': small_discriminator}[make](**kwargs)
    assert '\n' not in str(error.value)
    assert '--config.' in str(error.value)


def test_direct_construction_names_the_variants():
    with pytest.raises(ValueError, match=r"variant is 'table3'.*'paper', 'code'"):
        dcgan.StandardGenerator(image_size=32, variant='table3')


@pytest.mark.parametrize('architecture', ['resnet', 'standard'])
def test_discriminator_refuses_images_of_another_size(architecture):
    dis = small_discriminator(architecture=architecture)
    with pytest.raises(ValueError, match=r'image_size 16 was given images \(2, 32, 32, 3\)'):
        init_shapes(dis, jnp.zeros((2, 32, 32, 3)), train=True)


def test_unknown_arguments_are_not_swallowed():
    for make in (models.make_generator, models.make_discriminator):
        kinds = {p.kind for p in inspect.signature(make).parameters.values()}
        assert kinds == {inspect.Parameter.KEYWORD_ONLY}


# ---- rematerialisation


@pytest.mark.parametrize('normalization', ['spectral', 'layer'])
def test_remat_changes_the_memory_alone(normalization):
    """The same variables, and the same gradients of both players, from a step that keeps less."""

    def players(remat):
        gen = small_generator(architecture='resnet', remat=remat)
        dis = small_discriminator(
            architecture='resnet', remat=remat, normalization=normalization, dis_width=8
        )
        return gen, dis

    z = normal(4, DIM_Z)
    gen, dis = players(False)
    variables = filled(init_shapes(gen, z, train=True), neutral=False)
    judge = filled(init_shapes(dis, images(4, 16, 16, 3), train=True), neutral=False)

    def gradients(remat):
        gen, dis = players(remat)

        def loss(gen_params, dis_params):
            fake, _ = gen.apply(
                {**variables, 'params': gen_params}, z, train=True, mutable=['batch_stats']
            )
            return dis.apply({**judge, 'params': dis_params}, fake, train=True).sum()

        return jax.grad(loss, argnums=(0, 1))

    params = variables['params'], judge['params']
    for a, b, x in zip(players(False), players(True), (z, images(4, 16, 16, 3)), strict=True):
        assert init_shapes(a, x, train=True) == init_shapes(b, x, train=True)
    plain, saving = (jit(gradients(remat))(*params) for remat in (False, True))
    for p, q in zip(jax.tree.leaves(plain), jax.tree.leaves(saving), strict=True):
        np.testing.assert_allclose(q, p, rtol=1e-4, atol=1e-5 * float(np.abs(p).max() + 1e-9))
    kept = [
        cost.temporary_bytes(jax.make_jaxpr(gradients(remat))(*params).jaxpr)
        for remat in (False, True)
    ]
    assert kept[1] < 0.8 * kept[0]


def test_remat_is_for_the_resnets_alone(own_errors):
    with pytest.raises(ValueError, match=r'--config\.model\.remat'):
        small_generator(architecture='standard', remat=True)
