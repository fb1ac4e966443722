"""Labels in the networks: conditional generators, and the heads and norms of discriminators."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict

from helpers.contract import TINY_LAYOUT
from helpers.networks import filled, jit, normal, parameters, shapes
from snjax import models, spectral
from snjax.models import resnet
from snjax.objectives import weight_penalties as penalties

DIM_Z = 128
LABELS = jnp.asarray([2, 0, 1, 2], jnp.int32)
make_generator = functools.partial(models.make_generator, image_size=16, gen_width=4)
make_discriminator = functools.partial(models.make_discriminator, image_size=16, dis_width=4)


# --- generators


@pytest.mark.parametrize(
    ('architecture', 'variant', 'image_size', 'width', 'num_classes', 'count'),
    [
        # Six batch norms of 256 channels inside the blocks: 9 more rows of gamma and of beta each,
        # so 4,276,739 + 6 * 9 * 2 * 256.
        ('resnet', 'paper', 32, 256, 10, 4_304_387),
        # norm1 has the input channels, 1024 + 1024 + 512 + 256 + 128, and norm2 the output
        # channels, 1024 + 512 + 256 + 128 + 64: 4,928 in all, and 32,150,787 + 999 * 2 * 4,928.
        ('resnet', 'paper', 128, 64, 1000, 41_996_931),
        # 256 + 128 + 64 = 448 channels after the transposed convolutions: 3,812,355 + 9 * 2 * 448,
        # and 3,828,739 + the same, because the norm after the dense layer stays as it was.
        ('sngan_cnn', 'paper', 32, 64, 10, 3_820_419),
        ('sngan_cnn', 'code', 32, 64, 10, 3_836_803),
    ],
)
def test_conditional_generator_has_the_published_parameters_and_its_tables(
    architecture, variant, image_size, width, num_classes, count
):
    gen = models.make_generator(
        architecture=architecture,
        variant=variant,
        image_size=image_size,
        gen_width=width,
        num_classes=num_classes,
    )
    z, labels = jnp.zeros((2, DIM_Z)), jnp.zeros(2, jnp.int32)
    assert parameters(gen, z, labels) == count


def test_the_last_batch_norm_of_a_resnet_is_unconditional():
    gen = make_generator(architecture='resnet', num_classes=3)
    params = shapes(gen, jnp.zeros((2, 5)), LABELS[:2])['params']
    for block in ('block1', 'block2'):
        for norm in ('norm1', 'norm2'):
            assert {k: v.shape for k, v in params[block][norm].items()} == {
                'gamma': (3, 4),
                'beta': (3, 4),
            }
    assert {k: v.shape for k, v in params['norm_out'].items()} == {'scale': (4,), 'bias': (4,)}


@pytest.mark.parametrize('architecture', ['resnet', 'sngan_cnn'])
def test_labels_reach_every_conditional_norm(architecture):
    gen = make_generator(architecture=architecture, num_classes=3)
    z = jnp.broadcast_to(normal(1, 5), (4, 5))
    variables = filled(gen, z, LABELS)
    run = jit(functools.partial(gen.apply, train=False))
    fakes = run(variables, z, LABELS)
    # One z, three classes: only images 0 and 3 are of the same class.
    np.testing.assert_allclose(fakes[0], fakes[3], atol=1e-6)
    for a, b in ((0, 1), (0, 2), (1, 2)):
        assert float(jnp.abs(fakes[a] - fakes[b]).max()) > 1e-3
    onehot = jnp.eye(3)[LABELS]
    np.testing.assert_allclose(run(variables, z, onehot), fakes, atol=1e-5)

    # Every row of every table changes the images of its class, and no others.
    paths = flatten_dict(variables['params'])
    tables = [path for path in paths if path[-1] in ('gamma', 'beta')]
    assert len(tables) == (8 if architecture == 'resnet' else 6)
    for path in tables:
        for k in range(3):
            changed = jax.tree.map(np.array, variables)
            functools.reduce(dict.__getitem__, path, changed['params'])[k] += 1
            moved = np.abs(run(changed, z, LABELS) - fakes).max((1, 2, 3)) > 1e-4
            np.testing.assert_array_equal(moved, LABELS == k, err_msg=str(path))


def test_a_conditional_generator_with_equal_rows_is_the_unconditional_one():
    z = normal(4, 5)
    conditional, plain = (make_generator(architecture='resnet', num_classes=k) for k in (3, 0))
    variables = filled(plain, z)
    inner = {k: v for k, v in variables['params'].items() if k.startswith('block')}
    params, statistics = dict(variables['params']), dict(variables['batch_stats'])
    for block, leaves in inner.items():
        rows = {
            norm: {
                'gamma': jnp.broadcast_to(leaves[norm]['scale'], (3, 4)),
                'beta': jnp.broadcast_to(leaves[norm]['bias'], (3, 4)),
            }
            for norm in ('norm1', 'norm2')
        }
        params[block] = {**leaves, **rows}
        statistics[block] = {k: {'batch_norm': v} for k, v in statistics[block].items()}
    apply = functools.partial(conditional.apply, train=True, mutable=['batch_stats'])
    fake, _ = jit(apply)({'params': params, 'batch_stats': statistics}, z, LABELS)
    expected, _ = jit(functools.partial(plain.apply, train=True, mutable=['batch_stats']))(
        variables, z
    )
    np.testing.assert_allclose(fake, expected, atol=1e-5)


@pytest.mark.parametrize(
    ('architecture', 'image_size'),
    [('resnet', 8), ('sngan_cnn', 16), ('wgan_gp_cnn', 16), ('radford', 8)],
)
def test_a_class_beside_z_is_a_longer_z(architecture, image_size, monkeypatch):
    monkeypatch.setitem(resnet.LAYOUTS, 8, TINY_LAYOUT[8])
    make = functools.partial(
        models.make_generator, architecture=architecture, image_size=image_size, gen_width=2
    )
    z, one_hot = normal(4, 5), jnp.eye(3)[LABELS]
    longer = jnp.concatenate([z, 3**0.5 * one_hot], -1)
    plain, conditional = make(), make(num_classes=3, gen_conditioning='concat')
    variables = filled(plain, longer)
    apply = jit(functools.partial(conditional.apply, train=False))
    expected = jit(functools.partial(plain.apply, train=False))(variables, longer)
    np.testing.assert_allclose(apply(variables, z, LABELS), expected, atol=1e-6)
    np.testing.assert_allclose(apply(variables, z, one_hot), expected, atol=1e-6)


def test_a_class_beside_z_needs_classes():
    with pytest.raises(ValueError, match="gen_conditioning is 'concat', but num_classes is 0"):
        make_generator(architecture='resnet', gen_conditioning='concat')
    with pytest.raises(ValueError, match="nearest is 'batch_norm'"):
        make_generator(architecture='resnet', num_classes=3, gen_conditioning='batchnorm')


# --- heads


def test_weights_of_classes_mix_the_scores_of_a_projection():
    dis = make_discriminator(
        architecture='sngan_cnn', num_classes=3, head='projection', layers=models.PLAIN
    )
    x, weights = normal(4, 16, 16, 3), jnp.asarray(np.random.default_rng(0).dirichlet([1] * 3, 4))
    variables = filled(dis, x, LABELS)
    apply = jit(functools.partial(dis.apply, train=False))
    of_class = jnp.stack([apply(variables, x, jnp.full(4, k)) for k in range(3)], -1)
    mixed = apply(variables, x, weights.astype(jnp.float32))
    np.testing.assert_allclose(mixed, (of_class * weights).sum(-1), rtol=1e-4)


@pytest.mark.parametrize(
    ('architecture', 'variant', 'image_size', 'width', 'head', 'num_classes', 'count'),
    [
        # An embedding of 128 channels: 1,053,824 + 10 * 128.
        ('resnet', 'paper', 32, 128, 'projection', 10, 1_055_104),
        # 29,017,857 + 1000 * 1024.
        ('resnet', 'paper', 128, 64, 'projection', 1000, 30_041_857),
        # 1,053,824 + 128 * 10 + 10.
        ('resnet', 'paper', 32, 128, 'acgan', 10, 1_055_114),
        # The flattened features are 4 * 4 * 512 = 8,192: 5,860,865 + 10 * 8,192 (+ 10).
        ('sngan_cnn', 'code', 32, 64, 'projection', 10, 5_942_785),
        ('sngan_cnn', 'code', 32, 64, 'acgan', 10, 5_942_795),
    ],
)
def test_heads_add_their_parameters(
    architecture, variant, image_size, width, head, num_classes, count
):
    dis = models.make_discriminator(
        architecture=architecture,
        variant=variant,
        image_size=image_size,
        dis_width=width,
        head=head,
        num_classes=num_classes,
    )
    x = jnp.zeros((2, image_size, image_size, 3))
    assert parameters(dis, x, jnp.zeros(2, jnp.int32)) == count


def features_before(architecture, dis, variables, x):
    """The input of a head, by NumPy: the last output, activated and pooled or flattened."""
    last = 'block3' if architecture == 'resnet' else 'conv7'
    apply = functools.partial(
        dis.apply,
        train=True,
        capture_intermediates=lambda module, _: module.name == last,
        mutable=['intermediates'],
    )
    _, state = jit(apply)(variables, x, LABELS)
    h = np.asarray(state['intermediates'][last]['__call__'][0], np.float64)
    if architecture == 'resnet':
        return np.maximum(h, 0).sum((1, 2))
    return np.where(h > 0, h, 0.1 * h).reshape(len(h), -1)


@pytest.mark.parametrize('architecture', ['resnet', 'sngan_cnn'])
@pytest.mark.parametrize('head', ['projection', 'acgan'])
def test_heads_against_direct_formulas(architecture, head):
    dis = make_discriminator(
        architecture=architecture,
        head=head,
        num_classes=3,
        layers=models.PLAIN,
        dis_lipschitz=2.5,
    )
    x = normal(4, 16, 16, 3)
    variables = filled(dis, x, LABELS)
    out = jit(functools.partial(dis.apply, train=True))(variables, x, LABELS)
    h, params = features_before(architecture, dis, variables, x), variables['params']
    score = h @ np.asarray(params['score']['kernel'], np.float64)[:, 0] + params['score']['bias']
    if head == 'projection':
        inner = (np.asarray(params['embed']['embedding'], np.float64)[np.asarray(LABELS)] * h).sum(
            1
        )
        assert np.abs(inner).min() > 1e-3
        np.testing.assert_allclose(out, 2.5 * (score + inner), rtol=1e-3, atol=1e-4)
        return
    logits, class_logits = out
    assert logits.shape == (4,) and class_logits.shape == (4, 3)
    np.testing.assert_allclose(logits, 2.5 * score, rtol=1e-3, atol=1e-4)
    # The factor does not multiply the class logits.
    classify = params['classify']
    expected = h @ np.asarray(classify['kernel'], np.float64) + np.asarray(classify['bias'])
    np.testing.assert_allclose(class_logits, expected, rtol=1e-3, atol=1e-4)
    # Labels do not change the output; they enter the losses only.
    unlabelled = jit(functools.partial(dis.apply, train=True))(variables, x)
    np.testing.assert_allclose(unlabelled[0], logits, rtol=1e-6)


def test_a_spectral_projection_normalizes_its_embedding():
    dis = make_discriminator(architecture='resnet', head='projection', num_classes=3)
    x = normal(4, 16, 16, 3)
    variables = filled(dis, x, LABELS)
    advance = jit(lambda v: spectral.advance(dis, v, x, LABELS, train=True))
    for _ in range(20):
        variables = {**variables, 'spectral': advance(variables)}
    table = np.asarray(variables['params']['embed']['embedding'])
    exact = np.linalg.svd(table, compute_uv=False)[0]
    np.testing.assert_allclose(variables['spectral']['embed']['sigma'], exact, rtol=1e-3)
    assert set(spectral.sigmas(variables['spectral'])) > {'embed', 'score', 'block1/conv1'}
    # Changing the table's scale changes nothing.
    run = jit(functools.partial(dis.apply, train=True))
    doubled = jax.tree.map(jnp.copy, variables)
    doubled['params']['embed']['embedding'] *= 2
    np.testing.assert_allclose(
        run(doubled, x, LABELS), run(variables, x, LABELS), rtol=1e-4, atol=1e-5
    )


def test_embeddings_start_as_the_other_layers_do():
    x, labels = jnp.zeros((2, 16, 16, 3)), jnp.zeros(2, jnp.int32)
    table = {}
    for architecture in ('resnet', 'sngan_cnn'):
        dis = make_discriminator(
            architecture=architecture, head='projection', num_classes=200, layers=models.PLAIN
        )
        rng = jax.random.key(0, impl='rbg')
        params = jit(functools.partial(dis.init, train=True))(rng, x, labels)['params']
        table[architecture] = np.asarray(params['embed']['embedding'])
    # Glorot uniform: |w| <= sqrt(6 / (200 + 4)).
    assert 0.97 < np.abs(table['resnet']).max() / np.sqrt(6 / 204) <= 1 + 1e-6
    assert abs(table['sngan_cnn'].std() / 0.02 - 1) < 5 / np.sqrt(2 * table['sngan_cnn'].size)


# --- errors


@pytest.mark.parametrize('architecture', ['resnet', 'sngan_cnn'])
def test_missing_and_superfluous_labels_are_refused(architecture):
    z, x = jnp.zeros((4, 5)), jnp.zeros((4, 16, 16, 3))
    gen = make_generator(architecture=architecture, num_classes=3)
    with pytest.raises(ValueError, match='generator of 3 classes was given no labels'):
        shapes(gen, z)
    with pytest.raises(ValueError, match='labels were given to an unconditional generator'):
        shapes(make_generator(architecture=architecture), z, LABELS)
    dis = make_discriminator(architecture=architecture, head='projection', num_classes=3)
    with pytest.raises(ValueError, match='discriminator of 3 classes was given no labels'):
        shapes(dis, x)
    with pytest.raises(ValueError, match='labels were given to an unconditional discriminator'):
        shapes(make_discriminator(architecture=architecture), x, LABELS)


@pytest.mark.parametrize(
    ('make', 'kwargs', 'message'),
    [
        (make_generator, {'num_classes': -1}, r'num_classes is -1.*from 0'),
        (make_discriminator, {'head': 'projektion'}, r"head is 'projektion'.*nearest is 'projec"),
        (make_discriminator, {'head': 'acgan'}, r"num_classes is 0: the head 'acgan' needs 1"),
        (make_discriminator, {'dis_lipschitz': -1.0}, r'dis_lipschitz is -1.0: numbers above 0'),
    ],
)
def test_what_is_not_accepted_is_named_in_one_line(own_errors, make, kwargs, message):
    with pytest.raises(ValueError, match=message) as error:
        make(architecture='resnet', **kwargs)
    assert '\n' not in str(error.value)
    assert '--config.model.' in str(error.value)


@pytest.mark.parametrize(
    'architecture', ['resnet', pytest.param('sngan_cnn', marks=pytest.mark.slow)]
)
def test_orthogonal_start_of_the_discriminator(architecture):
    dis = models.make_discriminator(
        architecture=architecture,
        image_size=16,
        dis_width=4,
        layers=models.orthogonal_start(models.PLAIN),
    )
    variables = jax.jit(dis.init, static_argnames='train')(
        jax.random.key(0), jnp.zeros((1, 16, 16, 3)), train=False
    )
    assert float(jax.jit(penalties.orthonormal)(variables['params'])) < 1e-8
