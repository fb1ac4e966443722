"""The networks of R3GAN against their authors' description: counts, shapes, initialization, values.

Counts: tests/experiments/test_contract.py. Values and updates against the authors' code:
tests/oracles/test_official.py.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict
from jax import lax

from helpers.networks import NHWC, filled, images, jit, normal, shapes
from snjax import models
from snjax.models import r3gan

DIM_Z = 64


def make_gen(image_size=16, width=16, num_classes=0, **kwargs):
    conditioning = 'concat' if num_classes else 'batch_norm'
    return models.make_generator(
        **{'architecture': 'r3gan', 'gen_conditioning': conditioning, **kwargs},
        image_size=image_size,
        gen_width=width,
        num_classes=num_classes,
    )


def make_dis(image_size=16, width=16, num_classes=0, **kwargs):
    head = 'projection' if num_classes else 'none'
    return models.make_discriminator(
        **{'architecture': 'r3gan', 'layers': models.PLAIN, 'head': head, **kwargs},
        image_size=image_size,
        dis_width=width,
        num_classes=num_classes,
    )


def inputs(image_size, num_classes):
    labels = (jnp.zeros(2, jnp.int32),) if num_classes else ()
    return (jnp.zeros((2, DIM_Z)), *labels), (jnp.zeros((2, image_size, image_size, 3)), *labels)


@pytest.mark.parametrize(
    ('image_size', 'width', 'variant', 'channels', 'group'),
    [
        (256, 96, 'paper', [768] * 4 + [384, 192, 96], 16),
        pytest.param(64, 1536, 'imagenet', [1536] * 5, 32, marks=pytest.mark.slow),
    ],
)
def test_stages_have_the_published_shapes(image_size, width, variant, channels, group):
    z, x = inputs(image_size, 0)
    gen = shapes(make_gen(image_size, width, variant=variant), *z)['params']
    dis = shapes(make_dis(image_size, width, variant=variant), *x)['params']
    for player in (gen, dis):
        assert {name for name in player if name.startswith('block')} == {
            f'block{stage}_{i}' for stage in range(len(channels)) for i in (0, 1)
        }
        for stage, c in enumerate(channels):
            block = flatten_dict(player[f'block{stage}_1'], sep='/')
            assert {name: leaf.shape for name, leaf in block.items()} == {
                'expand/kernel': (c, 2 * c),
                'relu1/bias': (2 * c,),
                'mix/kernel': (3, 3, group, 2 * c),
                'relu2/bias': (2 * c,),
                'project/kernel': (2 * c, c),
            }
        assert player['basis'].shape == (4, 4, channels[0])
    assert gen['from_z']['kernel'].shape == (DIM_Z, channels[0])
    assert gen['to_image']['kernel'].shape == (channels[-1], 3)
    assert dis['from_image']['kernel'].shape == (3, channels[-1])
    assert dis['score']['kernel'].shape == (channels[0], 1)
    changes = [i for i in range(1, len(channels)) if channels[i] != channels[i - 1]]
    assert [n for n in gen if n.startswith('to') and n != 'to_image'] == [f'to{i}' for i in changes]
    assert {n for n in dis if n.startswith('to')} == {f'to{i - 1}' for i in changes}


@pytest.mark.parametrize('module', ['gen', 'dis'])
def test_kernels_start_at_the_variance_that_keeps_that_of_the_activations(module):
    made, *x = {
        'gen': (make_gen(8, 16, 3), *inputs(8, 3)[0]),
        'dis': (make_dis(8, 16, 3), *inputs(8, 3)[1]),
    }[module]
    variables = jit(functools.partial(made.init, train=True))(jax.random.key(0, impl='rbg'), *x)
    inside = np.sqrt(2 / 1.04 / np.sqrt(4))  # 2 stages of 2 blocks
    for name, leaf in flatten_dict(variables['params'], sep='/').items():
        leaf, fan_in = np.asarray(leaf, np.float64), np.prod(leaf.shape[:-1])
        expected = {'bias': 0.0, 'expand': inside / fan_in**0.5, 'mix': inside / fan_in**0.5}
        expected |= {'project': 0.0, 'basis': 1.0 if module == 'gen' else 1 / 4}
        expected |= {'embed': 3**-0.5 / (1 if module == 'gen' else 4)}
        parts = [part for part in name.split('/') if part in expected]
        std = expected[parts[-1]] if parts else fan_in**-0.5
        assert leaf.std() == pytest.approx(std, rel=5 / np.sqrt(2 * leaf.size)), name


@functools.partial(jit, static_argnames='up')
def resampled(x, *, up):
    """By XLA's convolution over zeros, or of stride 2."""
    kernel = np.outer([1, 3, 3, 1], [1, 3, 3, 1]).astype(np.float32)[:, :, None, None]
    kernel = np.tile(kernel / kernel.sum() * (4 if up else 1), (1, 1, 1, x.shape[-1]))
    return lax.conv_general_dilated(
        x,
        jnp.asarray(kernel),
        (1, 1) if up else (2, 2),
        [(2, 2)] * 2 if up else [(1, 1)] * 2,
        lhs_dilation=(2, 2) if up else None,
        dimension_numbers=NHWC,
        feature_group_count=x.shape[-1],
    )


def test_resampling_is_by_the_filter_1_3_3_1():
    x = normal(2, 6, 4, 3)
    np.testing.assert_allclose(jit(r3gan.doubled)(x), resampled(x, up=True), atol=1e-6)
    np.testing.assert_allclose(jit(r3gan.halved)(x), resampled(x, up=False), atol=1e-6)
    half = jax.eval_shape(r3gan.doubled, x.astype(jnp.bfloat16))
    assert half.dtype == jnp.bfloat16


@jit
def reference_block(p, h):
    def relu(h, bias):
        return jnp.where(h + bias > 0, h + bias, 0.2 * (h + bias))

    inside = relu(h @ p['expand']['kernel'], p['relu1']['bias'])
    groups = inside.shape[-1] // p['mix']['kernel'].shape[2]
    mixed = lax.conv_general_dilated(
        inside, p['mix']['kernel'], (1, 1), 'SAME', dimension_numbers=NHWC,
        feature_group_count=groups,
    )  # fmt: skip
    return h + relu(mixed, p['relu2']['bias']) @ p['project']['kernel']


def test_values_of_the_generator_are_those_of_the_description():
    gen, labels, z = make_gen(8, 16, 3), jnp.array([2, 0, 1]), normal(3, DIM_Z)
    params = filled(gen, z, labels)['params']
    h = jnp.concatenate([z, params['embed']['embedding'][labels]], 1) @ params['from_z']['kernel']
    h = params['basis'] * h[:, None, None]
    h = reference_block(params['block0_1'], reference_block(params['block0_0'], h))
    h = resampled(h, up=True)
    h = reference_block(params['block1_1'], reference_block(params['block1_0'], h))
    expected = h @ params['to_image']['kernel']
    cut = float(jnp.abs(expected).max()) / 2
    params['to_image']['kernel'] /= cut  # half of the largest leaves [-1, 1]
    expected /= cut
    both = lambda *given: [gen.apply(*given, train=train) for train in (True, False)]  # noqa: E731
    trained, shown = jit(both)({'params': params}, z, labels)
    np.testing.assert_allclose(trained, expected, rtol=1e-4, atol=1e-4)
    np.testing.assert_array_equal(shown, jnp.clip(trained, -1, 1))


@pytest.mark.parametrize('num_classes', [0, 3])
def test_values_of_the_discriminator_are_those_of_the_description(num_classes):
    dis, x = make_dis(8, 16, num_classes, dis_lipschitz=2.0), images(3, 8, 8, 3)
    labels = (jnp.array([2, 0, 1]),) if num_classes else ()
    params = filled(dis, x, *labels)['params']
    h = x @ params['from_image']['kernel']
    h = reference_block(params['block1_1'], reference_block(params['block1_0'], h))
    h = resampled(h, up=False)
    h = reference_block(params['block0_1'], reference_block(params['block0_0'], h))
    h = jnp.sum(h * params['basis'], (1, 2)) @ params['score']['kernel']
    if num_classes:
        h = jnp.sum(h * params['embed']['embedding'][labels[0]], 1, keepdims=True)
    found = jit(functools.partial(dis.apply, train=True))({'params': params}, x, *labels)
    np.testing.assert_allclose(found, 2 * h[:, 0], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(('image_size', 'expected'), [(32, [0, 1, 1, 1]), (256, [0] * 3 + [1] * 4)])
def test_bfloat16_is_for_the_four_stages_next_to_the_image_but_4x4(image_size, expected):
    gen = make_gen(image_size, 96, dtype='bfloat16')
    found = [gen.dtype_of(stage) == jnp.bfloat16 for stage in range(len(gen.stages()))]
    assert found == expected


@pytest.mark.slow
def test_bfloat16_gives_float32_images_and_logits():
    gen, dis = make_gen(8, dtype='bfloat16'), make_dis(8, dtype='bfloat16')
    z, x = normal(2, DIM_Z), images(2, 8, 8, 3)
    made = jax.eval_shape(functools.partial(gen.apply, train=True), shapes(gen, z), z)
    assert made.dtype == jnp.float32
    variables = filled(dis, x)
    apply = lambda m: m.apply(variables, x, train=True)  # noqa: E731
    found, expected = jit(lambda: (apply(dis), apply(dis.clone(dtype=jnp.float32))))()
    assert found.dtype == jnp.float32
    np.testing.assert_allclose(found, expected, rtol=0.1, atol=0.1)


# ---- errors


@pytest.mark.parametrize(
    ('make', 'kwargs', 'message'),
    [
        ('gen', {'image_size': 48}, 'powers of 2 from 8; the nearest are 32 and 64'),
        ('dis', {'image_size': 4}, 'the nearest are 8 and 16'),
        ('gen', {'width': 20}, r"width of 'r3gan' is 20: .*multiples of 8, as 24"),
        ('dis', {'width': 24, 'variant': 'imagenet'}, 'multiples of 16, as 32'),
        ('gen', {'variant': 'code'}, "'paper', 'imagenet'"),
        ('gen', {'num_classes': 3, 'gen_conditioning': 'batch_norm'}, 'gen_conditioning=concat'),
        ('dis', {'num_classes': 3, 'head': 'acgan'}, 'model.head=projection'),
        ('dis', {'layers': models.BATCH_NORM}, 'model.normalization'),
        ('gen', {'attention': 8}, "only 'resnet', 'biggan'"),
    ],
)
def test_what_is_not_accepted_is_named_in_one_line(make, kwargs, message):
    with pytest.raises(ValueError, match=message) as error:
        {'gen': make_gen, 'dis': make_dis}[make](**kwargs)
    assert '\n' not in str(error.value) and '--config.' in str(error.value)
