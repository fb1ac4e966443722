"""DiffAugment: its draws, read back from suitable images, and its gradients."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from snjax.objectives import augment as augmentation
from snjax.objectives.augment import POLICIES, augment, parse_policy

NUM = 3000
KEYS = jax.random.split(jax.random.key(5), NUM)
# Compiled quickly rather than well: compiling is most of what these tests take.
QUICK = {'xla_backend_optimization_level': '0'} if jax.default_backend() == 'cpu' else None
run = jax.jit(augment, static_argnames='policy', compiler_options=QUICK)


def images(seed, num, shape):
    return jnp.asarray(np.random.default_rng(seed).uniform(-1, 1, (num, *shape)), jnp.float32)


def many(image, *policy):
    """One image, augmented with every key."""
    image = jnp.asarray(image, jnp.float32)
    return np.asarray(run(jnp.broadcast_to(image, (NUM, *image.shape)), KEYS, policy=policy))


def assert_uniform(sample, low, high):
    """Kolmogorov-Smirnov against U(low, high), at a level of about 0.001."""
    sample = (np.sort(np.asarray(sample, np.float64)) - low) / (high - low)
    assert sample[0] >= -1e-4 and sample[-1] <= 1 + 1e-4
    steps = np.arange(len(sample) + 1) / len(sample)
    distance = max(np.max(steps[1:] - sample), np.max(sample - steps[:-1]))
    assert distance < 1.95 / np.sqrt(len(sample))


def assert_equally_often(values, num):
    """Chi-square of integers below `num`, four standard deviations above its mean at most."""
    counts, expected = np.bincount(values, minlength=num), len(values) / num
    assert len(counts) == num
    assert np.sum((counts - expected) ** 2 / expected) < num + 4 * np.sqrt(2 * num)


# --- policies
# --------------------------------------------------------------------------------------


def test_parse_policy():
    assert parse_policy('') == parse_policy('  ') == ()
    assert parse_policy('color') == ('color',)
    assert parse_policy('cutout, color ,translation') == ('cutout', 'color', 'translation')
    assert tuple(POLICIES) == ('color', 'translation', 'cutout')


@pytest.mark.parametrize('text', ['colour', 'color,', ',', 'color translation', 'color,color'])
def test_parse_policy_says_what_is_accepted(text):
    message = (
        rf"^augment policy '{text}': accepted are color, translation, cutout, blit, .*, each once, .*"
        r'--config\.data\.augment\)$'
    )
    with pytest.raises(ValueError, match=message):
        parse_policy(text)
    with pytest.raises(ValueError, match='accepted are color, translation, cutout'):
        augment(jnp.zeros((1, 8, 8, 3)), KEYS[:1], tuple(text.split(',')))


def test_no_policy_leaves_images_as_they_are():
    batch = images(0, 2, (8, 8, 3))
    np.testing.assert_array_equal(augment(batch, KEYS[:2], ()), batch)


def test_a_policy_is_its_parts_in_order():
    """The draws of a name do not depend on the rest of the policy."""
    batch, keys = images(1, 8, (16, 8, 3)), KEYS[:8]
    step_by_step = batch
    for name in ('cutout', 'color', 'translation'):
        step_by_step = run(step_by_step, keys, policy=(name,))
    whole = run(batch, keys, policy=('cutout', 'color', 'translation'))
    np.testing.assert_allclose(whole, step_by_step, atol=1e-6)
    black = jnp.full_like(batch, -1.0)
    black = run(black, keys, policy=('cutout',))
    cut = np.asarray(black) == 0
    assert cut.any() and not cut.all()
    assert (np.asarray(run(black, keys, policy=('color',)))[cut] != 0).all()
    assert (np.asarray(run(black, keys, policy=('color', 'cutout')))[cut] == 0).all()


@pytest.mark.parametrize('name', POLICIES)
def test_an_image_s_draws_follow_its_key(name):
    """An image's draws do not depend on its place, its neighbours or the batch size."""
    batch, keys = images(2, 8, (16, 8, 3)), KEYS[:8]
    whole = run(batch, keys, policy=(name,))
    assert whole.shape == batch.shape and whole.dtype == batch.dtype
    order = jnp.array([3, 1, 7, 0, 2, 5, 4, 6])
    np.testing.assert_array_equal(run(batch[order], keys[order], policy=(name,)), whole[order])
    others = run(batch.at[1:].set(0.5), keys, policy=(name,))
    np.testing.assert_array_equal(others[0], whole[0])
    halves = [run(batch[i : i + 4], keys[i : i + 4], policy=(name,)) for i in (0, 4)]
    np.testing.assert_allclose(jnp.concatenate(halves), whole, atol=1e-6)
    same = run(jnp.broadcast_to(batch[0], batch.shape), keys, policy=(name,))
    assert len(np.unique(np.asarray(same).reshape(8, -1), axis=0)) >= 5  # of 15 translations


def test_each_name_has_its_chance():
    image = jnp.full((NUM, 4, 4, 1), 0.5)
    always = np.asarray(run(image, KEYS, policy=('cutout', 'color')))
    names = {
        'cutout': np.asarray(run(image, KEYS, policy=('cutout',))),
        'color': np.asarray(run(image, KEYS, policy=('color',))),
    }
    found = np.asarray(run(image, KEYS, policy=('cutout', 'color'), chance=jnp.float32(0.3)))
    is_ = lambda other: np.abs(found - other).max((1, 2, 3)) < 1e-6  # noqa: E731
    shares = [is_(x).mean() for x in (np.asarray(image), names['cutout'], names['color'], always)]
    # Drawn apart: neither, one of both, both. One cutout in 25 lies in a corner and cuts one pixel.
    np.testing.assert_allclose(shares, [0.49, 0.21, 0.21, 0.09], atol=4 * 0.5 / np.sqrt(NUM))


# --- colour
# ----------------------------------------------------------------------------------------

# An image that is the sum of a level, shades alike in all channels, and hues that cancel over
# channels: the three draws are read back from the change of each.
SHADES = np.resize([0.3, -0.3], (4, 4, 1)) * np.ones(3)
HUES = np.resize([0.2, 0.2, -0.2, -0.2], (4, 4, 1)) * np.array([1.0, -2, 1])
LEVEL = 0.1


def draws_of_color():
    out = many(LEVEL + SHADES + HUES, 'color').astype(np.float64)
    level = out.mean((1, 2, 3))
    shades = np.tensordot(out, SHADES, 3) / np.sum(SHADES**2)
    hues = np.tensordot(out, HUES, 3) / np.sum(HUES**2)
    return out, level - LEVEL, hues / shades, shades  # brightness, saturation, contrast


def test_color_is_brightness_then_saturation_then_contrast():
    out, brightness, saturation, contrast = draws_of_color()
    assert_uniform(brightness, -0.5, 0.5)
    assert_uniform(saturation, 0, 2)
    assert_uniform(contrast, 0.5, 1.5)
    correlations = np.corrcoef([brightness, saturation, contrast])
    assert np.abs(correlations - np.eye(3)).max() < 4 / np.sqrt(NUM)
    # Nothing else has changed.
    b, s, c = (x[:, None, None, None] for x in (brightness, saturation, contrast))
    np.testing.assert_allclose(out, LEVEL + b + c * (SHADES + s * HUES), atol=1e-5)
    assert out.max() > 1 and out.min() < -1  # not clipped


def test_color_of_grey_images():
    """A grey image gives what each of three equal channels gives: saturation changes neither."""
    shades = SHADES[..., :1] + LEVEL
    grey, equal = many(shades, 'color'), many(np.repeat(shades, 3, axis=2), 'color')
    np.testing.assert_allclose(np.repeat(grey, 3, axis=3), equal, atol=1e-6)
    _, brightness, _, contrast = draws_of_color()
    expected = LEVEL + brightness[:, None, None] + contrast[:, None, None] * SHADES[..., 0]
    np.testing.assert_allclose(grey[..., 0], expected, atol=1e-5)


def test_color_of_a_flat_image_is_brightness_alone():
    out = many(np.full((4, 4, 1), 0.25), 'color')
    np.testing.assert_allclose(np.ptp(out, (1, 2, 3)), 0, atol=1e-6)
    assert_uniform(out[:, 0, 0, 0], -0.25, 0.75)


# --- translation
# -----------------------------------------------------------------------------------


def moved(image, rows, columns):
    """The image moved down and right, by NumPy."""
    height, width, _ = image.shape
    padded = np.pad(image, ((height, height), (width, width), (0, 0)))
    return padded[
        height - rows : 2 * height - rows,
        width - columns : 2 * width - columns,
    ]


@pytest.mark.parametrize(
    ('shape', 'rows', 'columns'),
    [((16, 8, 3), 2, 1), ((12, 4, 1), 2, 1), ((11, 20, 1), 1, 3), ((3, 8, 1), 0, 1)],
)
def test_translation_moves_by_whole_pixels(shape, rows, columns):
    """Uniform offsets up to 1/8 of either side, rounded half up; zeros fill in."""
    image = np.asarray(images(3, 1, shape)[0])
    offsets = [(r, c) for r in range(-rows, rows + 1) for c in range(-columns, columns + 1)]
    expected = np.stack([moved(image, *offset) for offset in offsets])
    equal = (many(image, 'translation')[:, None] == expected).all((2, 3, 4))
    assert (equal.sum(1) == 1).all()
    assert_equally_often(equal.argmax(1), len(offsets))


@pytest.mark.parametrize('by', [(0, 0), (2, -1), (-1, 1)])
def test_the_gradient_of_a_shift_is_the_shift_back(by):
    image, cotangent = images(4, 2, (16, 8, 2))
    by = jnp.array(by)
    out, pullback = jax.vjp(lambda x: augmentation.shift(x, by), image)
    np.testing.assert_array_equal(out, moved(np.asarray(image), *np.asarray(by)))
    (gradient,) = pullback(cotangent)
    np.testing.assert_array_equal(gradient, moved(np.asarray(cotangent), *-np.asarray(by)))


# --- cutout
# ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ('shape', 'sizes', 'centres'),
    [((8, 8, 3), (4, 4), (9, 9)), ((8, 6, 1), (4, 3), (9, 6)), ((5, 4, 1), (3, 2), (5, 5))],
)
def test_cutout_is_a_square_of_half_the_size(shape, sizes, centres):
    """The area is exact at every position, borders included, and positions are uniform."""

    def interval(centre, size, length):
        index = np.arange(length)
        return (index >= centre - size // 2) & (index < centre - size // 2 + size)

    image = np.asarray(images(6, 1, shape)[0])
    expected = []
    for row in range(centres[0]):
        for column in range(centres[1]):
            cut = np.outer(interval(row, sizes[0], shape[0]), interval(column, sizes[1], shape[1]))
            expected.append(np.where(cut[..., None], 0, image))
    equal = (many(image, 'cutout')[:, None] == np.stack(expected)).all((2, 3, 4))
    assert (equal.sum(1) == 1).all()
    assert_equally_often(equal.argmax(1), len(expected))


def test_area_of_a_cutout():
    """An 8x8 image loses 16 pixels where the square fits, and 2 x 2 in a corner."""
    areas = (many(np.ones((8, 8, 1)), 'cutout') == 0).sum((1, 2, 3))
    assert set(areas) == {16, 12, 9, 8, 6, 4}
    assert np.mean(areas == 16) == pytest.approx((5 / 9) ** 2, abs=0.03)
    assert np.mean(areas == 4) == pytest.approx((2 / 9) ** 2, abs=0.02)


# --- gradients
# -------------------------------------------------------------------------------------

EVERYTHING = ('color', 'translation', 'cutout')


def test_gradients_go_through():
    """The map is affine, so its pullback is exact over any distance: <g, A(x + d) - A(x)> = <A'g,
    d>.
    """
    batch, step, cotangent = (images(seed, 4, (16, 8, 3)) for seed in (7, 8, 9))
    keys = KEYS[:4]

    @functools.partial(jax.jit, compiler_options=QUICK)
    def pull(x):
        out, pullback = jax.vjp(lambda x: augment(x, keys, EVERYTHING), x)
        return out, pullback(cotangent)[0]

    (before, gradient), (after, same) = pull(batch), pull(batch + step)
    np.testing.assert_allclose(same, gradient, atol=1e-6)
    change = after - before
    assert (jnp.abs(gradient).max((1, 2, 3)) > 0.1).all()
    for i in range(4):
        expected = float(jnp.vdot(cotangent[i], change[i]))
        assert float(jnp.vdot(gradient[i], step[i])) == pytest.approx(expected, rel=1e-4, abs=1e-3)


def test_gradient_penalties_go_through():
    """|grad D|^2 / 2 for D(x) = scale |A(x)|^2 / 2 is scale^2 times a constant: its derivative is 2
    / scale of it.
    """
    batch, keys = images(10, 3, (16, 8, 3)), KEYS[:3]

    @functools.partial(jax.jit, compiler_options=QUICK)
    @jax.value_and_grad
    def penalty(scale):
        def score(x):
            return scale * jnp.sum(jnp.square(augment(x, keys, EVERYTHING))) / 2

        return jnp.sum(jnp.square(jax.grad(score)(batch))) / 2

    value, gradient = penalty(jnp.float32(1.7))
    assert float(value) > 1
    assert float(gradient) == pytest.approx(2 / 1.7 * float(value), rel=1e-5)
