"""The networks of BigGAN against their authors' description: layers, parts of z, start, values.

Counts: tests/experiments/test_contract.py. Values and updates against the authors' code:
tests/oracles/test_official.py and test_published_code.py.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict

from helpers.networks import filled, images, jit, normal, shapes
from snjax import models
from snjax.models.biggan import DeepBlock
from snjax.models.lipschitz import product_bound
from snjax.nn import convolution, layers
from snjax.objectives import weight_penalties as penalties

SIZE, CLASSES, DIM_Z = 16, 3, 12


def make_gen(image_size=SIZE, width=4, num_classes=CLASSES, **kwargs):
    return models.make_generator(
        **{'architecture': 'biggan', **kwargs},
        image_size=image_size,
        gen_width=width,
        num_classes=num_classes,
    )


def make_dis(image_size=SIZE, width=4, **kwargs):
    return models.make_discriminator(
        **{'architecture': 'biggan', 'num_classes': CLASSES, 'head': 'projection', **kwargs},
        image_size=image_size,
        dis_width=width,
    )


def names(tree, *ends):
    flat = flatten_dict(tree['params'], sep='/')
    return {name: leaf.shape for name, leaf in flat.items() if name.startswith(ends)}


def test_layers_have_the_published_shapes():
    """128 px, width 96: the blocks' norms see 128 numbers of the class and 20 of z."""
    labels = jnp.zeros(2, jnp.int32)
    gen = make_gen(128, 96, 1000, attention=64, layers=models.SPECTRAL)
    found = shapes(gen, jnp.zeros((2, 120)), labels)
    assert names(found, 'embed', 'project') == {
        'embed/embedding': (1000, 128),
        'project/kernel': (20, 16 * 16 * 96),
        'project/bias': (16 * 16 * 96,),
    }
    assert 'embed' not in found['spectral'] and 'gain' in found['spectral']['block5']['norm2']
    block = names(found, 'block4')
    assert block['block4/norm1/gain/kernel'] == (148, 4 * 96)
    assert block['block4/norm2/shift/kernel'] == (148, 2 * 96)
    assert names(found, 'attention/value') == {'attention/value/kernel': (1, 1, 192, 96)}
    dis = shapes(
        make_dis(128, 96, attention=64, num_classes=1000), jnp.zeros((2, 128, 128, 3)), labels
    )
    assert names(dis, 'block2/conv') == {
        'block2/conv1/kernel': (3, 3, 96, 192),
        'block2/conv1/bias': (192,),
        'block2/conv2/kernel': (3, 3, 192, 192),
        'block2/conv2/bias': (192,),
    }
    assert names(dis, 'attention/query') == {'attention/query/kernel': (1, 1, 96, 12)}


def reference_norm(x, p, stats, condition):
    gain = 1 + condition @ p['gain']['kernel']
    shift = condition @ p['shift']['kernel']
    stats = stats['batch_norm']
    h = (x - stats['mean']) / jnp.sqrt(stats['var'] + 1e-5)
    return h * gain[:, None, None] + shift[:, None, None]


@pytest.mark.parametrize('num_classes', [CLASSES, 0])
def test_norms_see_the_class_and_their_part_of_z(num_classes):
    """The values of the first block, from its norms on; its convolutions are those of the ResNet."""
    gen = make_gen(num_classes=num_classes)
    labels = (jnp.array([2, 0]),) if num_classes else ()
    z = normal(2, DIM_Z)
    variables = filled(gen, z, *labels)
    p, stats = variables['params'], variables['batch_stats']
    condition = z[:, 4:8]
    if num_classes:
        condition = jnp.concatenate([p['embed']['embedding'][labels[0]], condition], -1)

    @jit
    def both(variables):
        _, seen = gen.apply(
            variables,
            z,
            *labels,
            train=False,
            capture_intermediates=True,
            mutable=['intermediates'],
        )
        found = seen['intermediates']['block1']['norm1']['__call__'][0]
        h = (z[:, :4] @ p['project']['kernel'] + p['project']['bias']).reshape(2, 4, 4, 4)
        return found, reference_norm(h, p['block1']['norm1'], stats['block1']['norm1'], condition)

    found, expected = both(variables)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


def test_each_part_of_z_enters_where_it_belongs():
    """The first moves the dense layer; the last, of a block at 16x16, no norm before it."""
    gen, z, labels = make_gen(), normal(1, DIM_Z), jnp.array([1])
    variables = filled(gen, z, labels)
    apply = functools.partial(gen.apply, train=False, capture_intermediates=True)

    @jit
    def blocks(z):
        seen = apply(variables, z, labels, mutable=['intermediates'])[1]['intermediates']
        return [seen[f'block{i}']['__call__'][0] for i in (1, 2)]

    first, last = (z.at[0, i].add(1.0) for i in (0, DIM_Z - 1))
    before, changed, late = blocks(z), blocks(first), blocks(last)
    assert not np.allclose(before[0], changed[0])
    np.testing.assert_array_equal(before[0], late[0])
    assert not np.allclose(before[1], late[1])


def test_the_start_is_orthonormal_or_that_of_cifar():
    dis, x, labels = make_dis(), images(1, SIZE, SIZE, 3), jnp.array([0])
    variables = jit(functools.partial(dis.init, train=False))(jax.random.key(0), x, labels)
    assert float(jax.jit(penalties.orthonormal)(variables['params'])) < 1e-8
    gen = make_gen(variant='cifar', width=16)
    init = jit(functools.partial(gen.init, train=False))
    params = init(jax.random.key(0), normal(1, DIM_Z), labels)['params']
    for name, leaf in flatten_dict(params, sep='/').items():
        if name.endswith(('kernel', 'embedding')):
            assert np.std(leaf) == pytest.approx(0.02, rel=5 / np.sqrt(2 * leaf.size)), name
    assert params['block1']['norm1']['gain']['embedding'].shape == (CLASSES, 16)


@pytest.mark.parametrize('resample', ['up', 'down', None])
def test_a_deep_block_is_a_bottleneck_beside_its_input(resample):
    features = 5 if resample == 'down' else 2
    block = DeepBlock(features, 3, layers.Conv, resample=resample)
    x = normal(2, 4, 4, 4)
    init = functools.partial(block.init, jax.random.key(0))
    variables = jax.tree.map(lambda s: normal(*s.shape, seed=7), jax.eval_shape(init, x))
    sizes = {'up': convolution.upsample, 'down': convolution.average_pool, None: lambda h: h}

    def conv(h, p):
        return convolution.conv(h, p['kernel'], strides=(1, 1), padding='SAME') + p['bias']

    def expected(p, x):
        h = jax.nn.relu(conv(jax.nn.relu(x), p['conv1']))
        h = sizes['up'](h) if resample == 'up' else h
        h = jax.nn.relu(conv(jax.nn.relu(conv(h, p['conv2'])), p['conv3']))
        h = sizes['down'](h) if resample == 'down' else h
        new = [conv(x, p['shortcut'])] if features > 4 else []
        beside = sizes[resample](jnp.concatenate([x[..., : min(features, 4)], *new], -1))
        return conv(h, p['conv4']) + beside

    run = jit(lambda p, x: (block.apply({'params': p}, x), expected(p, x)))
    found, wanted = run(variables['params'], x)
    np.testing.assert_allclose(found, wanted, rtol=1e-3, atol=1e-3)


def test_the_bound_of_a_deep_discriminator_counts_its_shortcuts():
    dis = make_dis(architecture='biggan_deep', num_classes=0, head='none', layers=models.PLAIN)
    parts = dict.fromkeys(('conv1', 'conv2', 'conv3', 'conv4'), 2.0)
    blocks = [name for pair in dis.blocks_from_image() for name in pair]
    assert blocks == ['from_image', 'block1_0', 'block1_1', 'block2_0', 'block2_1']
    norms = {f'{block}/{part}': n for block in blocks[1:] for part, n in parts.items()}
    norms |= {'from_image': 3.0, 'score': 5.0}
    assert product_bound(dis, norms) == pytest.approx(3 * 17**4 * 5 * 4)  # 16 pixels are added up
    norms['block1_0/shortcut'] = 1.0
    assert product_bound(dis, norms) == pytest.approx(3 * 17**3 * (16 + 2**0.5) * 5 * 4)


@pytest.mark.parametrize(
    ('make', 'kwargs', 'message'),
    [
        (make_gen, {'image_size': 48}, 'BigGANs take 16, 32, 64, 128, 256; the nearest are'),
        (make_gen, {'gen_conditioning': 'concat'}, 'gen_conditioning=batch_norm'),
        (make_gen, {'variant': 'mimicry'}, "'paper', 'cifar'"),
        (make_gen, {'architecture': 'biggan_deep', 'variant': 'cifar'}, "accepted are 'paper'"),
        (make_dis, {'attention': 16}, 'feature maps of height 8, 4'),
        (make_dis, {'architecture': 'biggan_deep', 'first_stride2': True}, 'first_stride2=false'),
    ],
)
def test_what_is_not_accepted_is_named_in_one_line(make, kwargs, message):
    with pytest.raises(ValueError, match=message) as error:
        make(**kwargs)
    assert '\n' not in str(error.value) and '--config.' in str(error.value)


def test_z_has_equal_parts():
    with pytest.raises(
        ValueError, match=r'dim_z is 16: .* 3 equal parts; the nearest are 15 and 18'
    ):
        shapes(make_gen(), jnp.zeros((2, 16)), jnp.zeros(2, jnp.int32))
    with pytest.raises(ValueError, match='given no labels'):
        shapes(make_gen(), jnp.zeros((2, 12)))
