"""Laplacian pyramids and GLO's losses against SciPy in float64, and their purpose in the paper."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage

from helpers.networks import normal
from snjax.objectives import reconstruction
from snjax.objectives.reconstruction import PYRAMIDS, RECONSTRUCTION_LOSSES, WEIGHTINGS, Pyramid

BINOMIAL = np.outer([1, 4, 6, 4, 1], [1, 4, 6, 4, 1]) / 256
SQUARES = np.arange(-2, 3) ** 2
ADDED = np.exp(-SQUARES / 4)[:, None] + np.exp(-SQUARES / 4)[None]
ADDED /= ADDED.sum()
POWERS = {'level_means': 4.0, 'fine': 0.25}  # w_j is the j-th power of these


# ---- the reference: two-dimensional kernels, image by image and channel by channel


def blurred(picture, kernel):
    return ndimage.correlate(picture, kernel, mode='nearest')


def enlarged(small, shape):
    """Zeros between the pixels of the repeated border and the picture, then the kernel times four."""
    padded = np.pad(small, 1, mode='edge')
    spaced = np.zeros((2 * padded.shape[0], 2 * padded.shape[1]))
    spaced[::2, ::2] = padded
    return ndimage.correlate(spaced, 4 * BINOMIAL)[2 : 2 + shape[0], 2 : 2 + shape[1]]


def picture_levels(picture, num_levels, kind):
    levels = []
    for _ in range(num_levels):
        if kind == 'binomial':
            small = blurred(picture, BINOMIAL)[::2, ::2]
            levels.append(picture - enlarged(small, picture.shape))
        else:
            smooth = blurred(picture, ADDED)
            levels.append(picture - smooth)
            h, w = (side // 2 for side in smooth.shape)
            small = np.zeros((h, w))
            for i, j in np.ndindex(h, w):
                small[i, j] = smooth[2 * i : 2 * i + 2, 2 * j : 2 * j + 2].mean()
        picture = small
    return [*levels, picture]


def reference_levels(images, num_levels, kind):
    """By image, by channel: a list of levels."""
    images = np.asarray(images, np.float64)
    return [
        [picture_levels(image[:, :, c], num_levels, kind) for c in range(image.shape[2])]
        for image in images
    ]


def reference_loss(name, made, real, pyramid):
    """sum_j w_j |L^j|_1 / N by the formula, where sides are powers of two; and the mean square."""
    difference = np.asarray(made, np.float64) - np.asarray(real, np.float64)
    values = []
    for image, channels in zip(
        difference, reference_levels(difference, pyramid.num_levels, pyramid.kind), strict=True
    ):
        power = POWERS[pyramid.weighting]
        weighted = sum(
            power**j * np.abs(level).sum() for levels in channels for j, level in enumerate(levels)
        )
        parts = {
            'l1': np.abs(image).sum() / image.size,
            'l2': np.square(image).sum() / image.size,
            'lap1': weighted / image.size,
        }
        values.append(parts['l2'] + parts['lap1'] if name == 'l2_lap1' else parts[name])
    return np.array(values)


@functools.cache
def losses(pyramid=None):
    """(made, real) -> all losses by their names, as one program; None leaves the pyramid out."""
    given = {} if pyramid is None else {'pyramid': pyramid}
    return jax.jit(lambda *x: {name: f(*x, **given) for name, f in RECONSTRUCTION_LOSSES.items()})


@functools.cache
def pyramid_of(num_levels, kind):
    return jax.jit(lambda x: reconstruction.laplacian_pyramid(x, num_levels, kind))


# ---- pyramids


@pytest.mark.parametrize('kind', PYRAMIDS)
@pytest.mark.parametrize('size', [(16, 16), (13, 22)])
def test_levels_are_those_of_the_reference(kind, size):
    images = normal(2, *size, 2)
    levels = pyramid_of(3, kind)(images)
    expected = reference_levels(images, 3, kind)
    assert len(levels) == 4
    for j, level in enumerate(levels):
        stacked = np.array([[channel[j] for channel in image] for image in expected])
        np.testing.assert_allclose(level, np.moveaxis(stacked, 1, -1), rtol=1e-5, atol=1e-6)
        assert level.dtype == jnp.float32 and float(jnp.abs(level).max()) > 0.1


@pytest.mark.parametrize(
    ('kind', 'sides'),
    [
        ('binomial', [(13, 22), (7, 11), (4, 6), (2, 3)]),
        ('minimal_glo', [(13, 22), (6, 11), (3, 5), (1, 2)]),
    ],
)
def test_odd_sides_are_rounded(kind, sides):
    levels = jax.eval_shape(pyramid_of(3, kind), jnp.zeros((2, 13, 22, 1)))
    assert [level.shape for level in levels] == [(2, *side, 1) for side in sides]


@pytest.mark.parametrize('kind', PYRAMIDS)
@pytest.mark.parametrize('size', [(16, 16), (13, 22)])
def test_a_constant_image_is_left_at_the_top_alone(kind, size):
    """At the border too, where pixels are repeated outwards."""
    images = jnp.broadcast_to(jnp.asarray([0.7, -1.0]), (2, *size, 2))
    *levels, top = pyramid_of(3, kind)(images)
    for level in levels:
        np.testing.assert_allclose(level, 0, atol=3e-7)
    np.testing.assert_allclose(top, jnp.broadcast_to(images[:, :1, :1], top.shape), rtol=1e-6)


@pytest.mark.parametrize('size', [(16, 16), (13, 22)])
def test_collapse_inverts_the_binomial_pyramid(size):
    images = normal(2, *size, 2)
    levels = pyramid_of(3, 'binomial')(images)
    np.testing.assert_allclose(
        jax.jit(reconstruction.collapse)(levels), images, rtol=1e-6, atol=1e-6
    )


def test_the_image_itself_is_a_pyramid_of_no_levels():
    images = normal(1, 4, 4, 1)
    (only,) = reconstruction.laplacian_pyramid(images, 0)
    assert only is images and reconstruction.collapse([only]) is images


def test_kernels_by_an_impulse():
    """Corner over centre: 1/36 where two profiles are multiplied, exp(-4 / 4) where they are added,
    as in the port.
    """
    impulse = jnp.zeros((1, 9, 9, 1)).at[0, 4, 4, 0].set(1.0)
    _, small = pyramid_of(1, 'binomial')(impulse)  # every second tap of the blur
    assert float(small[0, 2, 2, 0]) == pytest.approx(36 / 256, rel=1e-6)
    assert float(small[0, 1, 1, 0] / small[0, 2, 2, 0]) == pytest.approx(1 / 36, rel=1e-5)
    level, _ = pyramid_of(1, 'minimal_glo')(impulse)
    kernel = (impulse - level)[0, 2:7, 2:7, 0]
    assert float(kernel[0, 0] / kernel[2, 2]) == pytest.approx(np.exp(-1), rel=1e-5)
    assert float(kernel.sum()) == pytest.approx(1, rel=1e-6)
    np.testing.assert_allclose(kernel, ADDED, rtol=1e-5)


# ---- losses


def pair(*shape):
    return normal(*shape, seed=1), normal(*shape, seed=2)


@pytest.mark.parametrize('kind', PYRAMIDS)
@pytest.mark.parametrize('weighting', WEIGHTINGS)
def test_losses_are_the_formula(kind, weighting):
    """w_j = 4^j and 4^-j: sides are powers of two, so that level j has 4^-j of the pixels."""
    made, real = pair(3, 16, 32, 2)
    pyramid = Pyramid(3, weighting, kind)
    values = losses(pyramid)(made, real)
    assert values.keys() == {'l1', 'l2', 'lap1', 'l2_lap1'}
    for name, value in values.items():
        np.testing.assert_allclose(value, reference_loss(name, made, real, pyramid), rtol=1e-5)
        assert value.shape == (3,) and float(jnp.ptp(value)) > 1e-4


def test_a_default_pyramid_has_three_levels_of_equal_means():
    assert Pyramid() == Pyramid(3, 'level_means', 'binomial')
    made, real = pair(3, 16, 16, 1)
    for name, value in losses()(made, real).items():
        expected = reference_loss(name, made, real, Pyramid(3, 'level_means', 'binomial'))
        np.testing.assert_allclose(value, expected, rtol=1e-5)


def test_level_means_of_odd_sides_are_means():
    """Where the formula and the sum of means differ, means are summed."""
    made, real = pair(1, 13, 22, 1)
    (channel,) = reference_levels(made - real, 3, 'binomial')[0]
    expected = sum(np.abs(level).mean() for level in channel)
    assert float(losses()(made, real)['lap1'][0]) == pytest.approx(expected, rel=1e-5)
    formula = reference_loss('lap1', made, real, Pyramid())[0]
    assert abs(formula / expected - 1) > 1e-2


def test_a_loss_is_of_its_own_image():
    """A loss does not depend on the batch, is 0 for equal images, and is symmetric, bit for bit."""
    made, real = pair(3, 16, 16, 1)
    values = losses()(made, real)
    others = losses()(made.at[1:].multiply(-3.0), real.at[1:].add(1.0))
    same, swapped = losses()(real, real), losses()(real, made)
    for name, value in values.items():
        assert value[0] == others[name][0]
        assert not np.isclose(value[1:], others[name][1:]).any()
        np.testing.assert_array_equal(same[name], 0)
        np.testing.assert_allclose(swapped[name], value, rtol=1e-6)


@pytest.mark.parametrize('kind', PYRAMIDS)
@pytest.mark.parametrize('weighting', WEIGHTINGS)
def test_gradients_against_finite_differences(kind, weighting):
    """Gradients against the reference along three directions, away from kinks."""
    made, real = pair(1, 8, 16, 1)
    pyramid = Pyramid(2, weighting, kind)
    grads = jax.jit(jax.jacrev(lambda x: {k: v[0] for k, v in losses(pyramid)(x, real).items()}))(
        made
    )
    x, step = np.asarray(made, np.float64), 1e-6
    for seed in range(3):
        direction = np.random.default_rng(seed).standard_normal(x.shape)
        levels, changes = (
            reference_levels(image, 2, kind)[0][0] for image in (x - np.asarray(real), direction)
        )
        for level, change in zip(levels, changes, strict=True):
            assert (np.abs(level) > 2 * step * np.abs(change)).all()
        for name, grad in grads.items():
            ahead, behind = (
                reference_loss(name, x + s * direction, real, pyramid)[0] for s in (step, -step)
            )
            slope = np.sum(np.asarray(grad, np.float64) * direction)
            assert slope == pytest.approx((ahead - behind) / (2 * step), rel=1e-4, abs=1e-6)
            assert abs(slope) > 1e-4


# ---- what the normalization and the pyramid are for


def smooth(weights, size):
    """The same picture at any size: one slow slope and one bend each way, at the centres of the
    pixels.
    """
    x = (jnp.arange(size) + 0.5) / size
    along = jnp.stack([x, jnp.cos(jnp.pi * x), jnp.ones(size)])
    return jnp.einsum('ab,ai,bj->ij', weights, along, along)[None, :, :, None]


def test_a_learning_rate_means_the_same_at_every_size():
    """Losses of a picture of nine parameters at any size, their gradients, and the gain of an SGD
    step.
    """
    made, real = normal(3, 3, seed=1), normal(3, 3, seed=2)
    found = []
    for size in (32, 64, 128):

        def measure(weights, size=size):
            values = losses()(smooth(weights, size), smooth(real, size))
            return (jnp.concatenate([values[name] for name in RECONSTRUCTION_LOSSES]),) * 2

        both = jax.jit(jax.jacrev(measure, has_aux=True))
        grads, values = both(made)
        stepped = [both(made - 0.01 * grad)[1][i] for i, grad in enumerate(grads)]
        found.append([values, jnp.linalg.norm(grads, axis=(1, 2)), values - jnp.stack(stepped)])
    found = np.array(found)
    assert found.min() > 1e-3
    # Sums over pixels would be 4 and 16 times as large. At 32 px the pyramid's top has 4 px, all
    # near a border.
    np.testing.assert_allclose(found[0] / found[2], 1, atol=0.25)
    np.testing.assert_allclose(found[1] / found[2], 1, atol=0.08)


def textured(seed):
    """Two long waves of random phase under a texture twice as strong."""
    rng = np.random.default_rng(seed)
    turns, x = 2 * np.pi * rng.random(2), 2 * np.pi * np.arange(64) / 64
    waves = np.cos(x + turns[0])[:, None] + np.cos(x + turns[1])
    return waves + 2 * rng.standard_normal((64, 64))


def test_lap1_forgives_the_shift_of_a_texture_that_l1_and_l2_do_not():
    """Loss of a picture moved by one pixel, over that of another with other texture: 1 tells
    nothing apart.

    So for textures. Of smooth pictures (photographs, enlarged digits) l2, being squared, has the
    smaller ratio.
    """
    pictures = jnp.asarray(np.stack([textured(i) for i in range(16)])[..., None], jnp.float32)
    moved, other = jnp.roll(pictures, 1, axis=2), jnp.roll(pictures, 1, axis=0)
    near, far = losses()(moved, pictures), losses()(other, pictures)
    ratio = {name: float(near[name].mean() / far[name].mean()) for name in near}
    assert 0.75 < ratio['l2'] < 0.87 and 0.84 < ratio['l1'] < 0.96
    assert 0.6 < ratio['lap1'] < 0.72


# ---- errors


@pytest.mark.parametrize(
    ('call', 'message'),
    [
        (
            lambda x: reconstruction.laplacian_pyramid(x, 1, 'gaussian'),
            "pyramid 'gaussian': accepted are binomial, minimal_glo",
        ),
        (
            lambda x: reconstruction.laplacian_pyramid(x, 4),
            'a pyramid of 4 levels: 0 to 3 halve images of 12 px (--config.glo.levels)',
        ),
        (
            lambda x: reconstruction.laplacian_pyramid(x, 4, 'minimal_glo'),
            'a pyramid of 4 levels: 0 to 3 halve images of 12 px (--config.glo.levels)',
        ),
        (lambda x: reconstruction.laplacian_pyramid(x, -1), 'a pyramid of -1 levels: 0 to 3 halve'),
        (
            lambda x: reconstruction.lap1(x, x, Pyramid(weighting='equal')),
            "weighting 'equal': accepted are level_means, fine",
        ),
        (
            lambda x: reconstruction.l2_lap1(x, x, Pyramid(num_levels=9)),
            'a pyramid of 9 levels: 0 to 3 halve images of 12 px (--config.glo.levels)',
        ),
    ],
)
def test_what_is_not_accepted_is_named_in_one_line(call, message):
    with pytest.raises(ValueError) as caught:
        call(jnp.zeros((1, 12, 20, 1)))
    assert message in str(caught.value) and '\n' not in str(caught.value)
