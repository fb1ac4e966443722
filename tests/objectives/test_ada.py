"""ADA's pipeline: each transformation by NumPy and scipy, the draws, and gradients."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage, signal
from scipy.spatial.transform import Rotation

from configs import sngan_digits
from experiments import build
from snjax.objectives import ada
from snjax.objectives.augment import POLICIES, augment, parse_policy

NUM = 2000
KEYS = jax.random.split(jax.random.key(5), NUM)
# Compiled quickly rather than well: compiling is most of what these tests take.
QUICK = {'xla_backend_optimization_level': '0'} if jax.default_backend() == 'cpu' else None
quick = functools.partial(jax.jit, compiler_options=QUICK)
run = quick(augment, static_argnames='policy')


def images(seed, num, shape):
    return jnp.asarray(np.random.default_rng(seed).uniform(-1, 1, (num, *shape)), jnp.float32)


class Given(ada.Draws):
    """Draws that are said beforehand, in their order."""

    def __init__(self, *values, chance=1.0):
        super().__init__(jax.random.key(0), chance)
        self.values = list(values)

    def uniform(self, low, high, **kwargs):
        value = self.values.pop(0)
        assert low <= np.min(value) and np.max(value) <= high
        return jnp.asarray(value, jnp.float32)

    def normal(self, std, **kwargs):
        return std * jnp.asarray(self.values.pop(0), jnp.float32)

    def whole(self, num):
        value = self.values.pop(0)
        assert value in range(num)
        return jnp.float32(value)


# ---- filters


@pytest.mark.parametrize('taps', [ada.SYM6, ada.SYM2])
def test_the_wavelets_are_orthonormal(taps):
    for shift in range(0, len(taps), 2):
        product = np.dot(taps[: len(taps) - shift], taps[shift:])
        assert product == pytest.approx(float(shift == 0), abs=1e-9)
    assert np.sum(taps) == pytest.approx(np.sqrt(2), abs=1e-9)


def test_the_bands_are_octaves_that_add_up_to_the_image():
    whole = np.zeros(ada.BANDS.shape[1])
    whole[len(whole) // 2] = 1
    np.testing.assert_allclose(ada.BANDS.sum(0), whole, atol=1e-12)
    np.testing.assert_allclose(ada.BANDS, ada.BANDS[:, ::-1], atol=1e-12)
    # Each is strongest inside its own octave: 0 to 1/8, 1/8 to 1/4, to 1/2, to 1 of Nyquist's.
    frequencies, bounds = np.linspace(0, 1, 257), (0, 1 / 8, 1 / 4, 1 / 2, 1)
    place = np.arange(len(whole)) - len(whole) // 2
    strength = ada.BANDS @ np.cos(np.pi * np.outer(place, frequencies))
    for i, band in enumerate(strength):
        inside = (frequencies >= bounds[i]) & (frequencies <= bounds[i + 1])
        assert inside[band.argmax()] and 0.6 < band.max() < 1.1
        assert band.min() > -1e-9


# ---- geometry


def warped(image, inverse):
    """The image under an affine map from output to input, (x, y) from the middle, in float64.

    Enlarged samples lie where the middle of mass of the filter puts them.
    """
    height, width, channels = image.shape
    taps = np.array(ada.SYM6) / np.sqrt(2)
    middle = round(np.dot(np.arange(12), taps))
    edges = [(n - 1, n - 1) for n in (height, width)]
    out = []
    for c in range(channels):
        x = np.pad(np.float64(image[..., c]), edges, mode='reflect')
        padded = x.shape
        for axis in (0, 1):  # the sample n lies at (n - middle) / 2 of the padded image
            x = signal.upfirdn(2 * taps, x, up=2, axis=axis)
        # Of the output: three pixels more on every side, twice as fine, on the grid of half pixels.
        rows, columns = (np.arange(-6, 2 * n + 6) / 2 - (n - 1) / 2 for n in (height, width))
        grid = np.stack(
            [*np.broadcast_arrays(columns[None], rows[:, None]), np.ones((len(rows), len(columns)))]
        )
        there = np.einsum('ij,jhw->ihw', inverse, grid)
        places = [
            2 * (there[i] + (n - 1) / 2) + middle for i, n in ((1, padded[0]), (0, padded[1]))
        ]
        # Beyond the padded image are zeros, as where its own samples end.
        ends = [slice(5, 5 + 2 * n) for n in padded]
        fine = ndimage.map_coordinates(
            x[tuple(ends)], [p - 5 for p in places], order=1, mode='grid-constant'
        )
        for axis in (0, 1):  # correlated with the same filter around every second sample
            fine = signal.upfirdn(taps[::-1], fine, axis=axis)
        first = 6 + 11 - middle
        out.append(fine[first : first + 2 * height : 2, first : first + 2 * width : 2])
    return np.stack(out, -1)


@pytest.mark.parametrize(('seed', 'shape'), [(0, (12, 16, 3)), (1, (9, 7, 1)), (2, (8, 16, 5))])
def test_a_warp_is_that_of_scipy(seed, shape):
    rng = np.random.default_rng(seed)
    image = images(seed, 1, shape)[0]
    for strength in (0.0, 0.3, 1.0):
        inverse = np.eye(3)
        inverse[:2] += strength * rng.normal(0, 0.5, (2, 3)) * [1, 1, shape[1] / 2]
        found = quick(ada.warp)(image, jnp.asarray(inverse, jnp.float32))
        np.testing.assert_allclose(found, warped(image, inverse), atol=2e-5)


def test_whole_pixels_move_exactly_and_borders_are_reflected():
    image = images(0, 1, (10, 14, 3))[0]
    np.testing.assert_allclose(ada.warp(image, jnp.eye(3)), image, atol=1e-6)
    moved = ada.warp(image, ada.translated(3, -2))  # 3 to the right, 2 up
    expected = np.pad(image, ((0, 2), (3, 0), (0, 0)), mode='reflect')[2:, :14]
    np.testing.assert_allclose(moved, expected, atol=1e-6)


def test_mirrors_and_quarter_turns_of_a_smooth_image():
    """The filter is not quite symmetric, so that they are not exact."""
    y, x = np.mgrid[-1:1:16j, -1:1:16j]
    image = jnp.stack([np.sin(2 * x + y), np.exp(-(x**2) - 2 * y) / 4, x * y], -1)
    mirrored = ada.warp(image, ada.blitting(Given(1, 0, (0, 0)), 16, 16))
    np.testing.assert_allclose(mirrored, image[:, ::-1], atol=0.05)
    for turns in (1, 2, 3):
        turned = ada.warp(image, ada.blitting(Given(0, turns, (0, 0)), 16, 16))
        np.testing.assert_allclose(turned, np.rot90(image, turns), atol=0.05)


def inverse_of(*maps):
    return np.linalg.inv(functools.reduce(np.matmul, reversed(maps)))


def turn(angle):
    """To the left by an angle, in coordinates whose y points down."""
    cos, sin = np.cos(angle), np.sin(angle)
    return np.array([[cos, sin, 0], [-sin, cos, 0], [0, 0, 1]])


def moved(x, y):
    return np.array([[1, 0, x], [0, 1, y], [0, 0, 1]])


def test_the_maps_are_the_published_ones_in_their_order():
    """From right to left what is applied to the coordinates of the output: the last one first."""
    found = ada.blitting(Given(1, 3, (0.06, -0.1)), 20, 50)
    first = [moved(3, -2), turn(1.5 * np.pi), np.diag([-1, 1, 1])]
    np.testing.assert_allclose(found, inverse_of(*first[::-1]), atol=1e-5)
    found = ada.geometry(Given(1.5, 0.4, -0.5, -1.1, (0.5, -1)), 16, 32)
    size, aspect = 2**0.3, 2**-0.1
    maps = [
        np.diag([size, size, 1]),
        turn(0.4),
        np.diag([aspect, 1 / aspect, 1]),
        turn(-1.1),
        moved(0.5 / 8 * 32, -1 / 8 * 16),
    ]
    np.testing.assert_allclose(found, inverse_of(*maps), rtol=1e-4, atol=1e-5)


def matrices(fn, chance):
    draw = lambda key: fn(ada.Draws(key, chance), 16, 16)  # noqa: E731
    return np.asarray(quick(jax.vmap(draw))(KEYS), np.float64)


def test_blits_are_drawn_as_published():
    np.testing.assert_array_equal(
        matrices(ada.blitting, 0.0), np.broadcast_to(np.eye(3), (NUM, 3, 3))
    )
    found = matrices(ada.blitting, jnp.float32(1.0))
    kinds, counts = np.unique(
        np.round(found[:, :2, :2]).reshape(NUM, 4), axis=0, return_counts=True
    )
    assert len(kinds) == 8  # mirrors and quarter turns
    assert np.abs(counts - NUM / 8).max() < 5 * np.sqrt(NUM / 8)
    by = np.linalg.inv(found)[:, :2, 2]
    places = np.abs(np.round(np.linalg.det(found)[:, None] * by))
    assert places.max() == 2 and np.allclose(by, np.round(by), atol=1e-4)


def test_rotations_and_scales_are_drawn_as_published():
    found = matrices(ada.geometry, jnp.float32(0.5))
    angles = np.array(
        [Rotation.from_matrix(svd_rotation(m)).as_euler('zyx')[0] for m in found[:500]]
    )
    # Either rotation with 1 - sqrt(1/2): one of them with 1/2.
    assert abs((np.abs(angles) > 1e-3).mean() - 0.5) < 4 * 0.5 / np.sqrt(500)
    always = matrices(ada.geometry, 1.0)
    sides = np.linalg.svd(always[:, :2, :2], compute_uv=False)
    size = -np.log2(sides).mean(1)
    aspect = np.log2(sides[:, 0] / sides[:, 1]) / 2  # |N|
    assert size.std() == pytest.approx(0.2, rel=0.08) and abs(size.mean()) < 0.02
    assert np.sqrt(np.mean(aspect**2)) == pytest.approx(0.2, rel=0.08)
    by = np.linalg.solve(always, np.broadcast_to([[0.0], [0], [1]], (NUM, 3, 1)))[:, :2, 0]
    assert by.std() == pytest.approx(16 / 8, rel=0.08)


def svd_rotation(matrix):
    u, _, v = np.linalg.svd(matrix[:2, :2])
    out = np.eye(3)
    out[:2, :2] = u @ v
    return out


# ---- colour


def colored(image, b, c, flip, angle, s):
    """By homogeneous matrices, the first transformation on the right."""
    num = image.shape[-1]
    grey = np.ones((num, num)) / num
    one = np.eye(num)
    turn = Rotation.from_rotvec(angle * np.ones(3) / np.sqrt(3)).as_matrix() if num == 3 else one
    matrix = (grey + s * (one - grey)) @ turn @ (one - 2 * flip * grey) * c
    return (np.float64(image) + b) @ matrix.T


@pytest.mark.parametrize('channels', [1, 2, 3, 5])
def test_colour_is_its_five_matrices(channels):
    image = images(3, 1, (6, 4, channels))[0]
    for b, c, flip, angle, s in [(0, 0, 0, 0, 0), (1.5, -0.5, 1, 2.0, 0.7), (-1, 1, 0, -3, -1)]:
        found = ada.color(image, Given(b, c, flip, angle, s))
        expected = colored(image, 0.2 * b, 2 ** (0.5 * c), flip, angle, 2.0**s)
        np.testing.assert_allclose(found, expected, atol=1e-5)


def test_a_grey_image_changes_as_three_equal_channels():
    image = images(4, 1, (4, 4, 1))[0]
    values = (1.5, -0.5, 1, 2.0, 0.7)
    grey, three = (ada.color(x, Given(*values)) for x in (image, jnp.repeat(image, 3, -1)))
    np.testing.assert_allclose(jnp.repeat(grey, 3, -1), three, atol=1e-6)


def test_colours_are_drawn_as_published():
    hues = np.array([1, -0.5, -0.5])
    change = lambda x: np.asarray(  # noqa: E731
        quick(jax.vmap(lambda k: ada.color(jnp.asarray(x, jnp.float32), ada.Draws(k, 1.0))))(KEYS)
    ).reshape(NUM, 3)
    black, grey, red = (change(np.reshape(x, (1, 1, 3))) for x in (np.zeros(3), np.ones(3), hues))
    gain = (grey - black).mean(1)  # contrast, with the sign of the flip
    assert (gain < 0).mean() == pytest.approx(0.5, abs=0.05)
    assert np.log2(np.abs(gain)).std() == pytest.approx(0.5, rel=0.06)
    assert (black.mean(1) / gain).std() == pytest.approx(0.2, rel=0.06)
    rest = (red - black) / np.abs(gain)[:, None]
    saturation = np.linalg.norm(rest, axis=1) / np.linalg.norm(hues)
    assert np.log2(saturation).std() == pytest.approx(1, rel=0.06)
    angle = np.arctan2(rest @ [0, 1, -1] / np.sqrt(2), rest @ [1, -0.5, -0.5] / np.sqrt(1.5))
    assert np.abs(np.histogram(angle, 8, (-np.pi, np.pi))[0] - NUM / 8).max() < 5 * np.sqrt(NUM / 8)


# ---- filter, noise, cutout


@pytest.mark.parametrize('shape', [(48, 50, 3), (30, 24, 1)])
def test_octaves_are_amplified(shape):
    image, gains = images(5, 1, shape)[0], np.array([1.3, 0.4, 2.0, 0.7], np.float32)
    expected = np.float64(image)
    for axis in (0, 1):
        expected = ndimage.correlate1d(expected, gains @ ada.BANDS, axis, mode='mirror')
    np.testing.assert_allclose(ada.amplified(image, jnp.asarray(gains)), expected, atol=1e-5)


def test_gains_are_of_equal_expected_power(monkeypatch):
    monkeypatch.setattr(ada, 'amplified', lambda image, gains: image * gains)
    power, expected = np.array([10, 1, 1, 1]) / 13, np.ones(4)
    drawn = (0.5, -1.0, 0.0, 2.0)
    for i, n in enumerate(drawn):
        one = np.ones(4)
        one[i] = 2**n
        expected *= one / np.sqrt(power @ one**2)
    found = ada.filtered(jnp.ones((1, 1, 4)), Given(*drawn))
    np.testing.assert_allclose(found[0, 0], expected, rtol=1e-5)


def test_noise_and_cutout_are_drawn_as_published():
    grey = jnp.zeros((16, 16, 1))
    noisy = np.asarray(quick(jax.vmap(lambda k: ada.noisy(grey, ada.Draws(k, 1.0))))(KEYS))
    spread = noisy.std((1, 2, 3))
    assert np.sqrt(np.mean(spread**2)) == pytest.approx(0.1, rel=0.06)
    assert spread.mean() == pytest.approx(0.1 * np.sqrt(2 / np.pi), rel=0.06)
    ones = jnp.ones((8, 16, 2))
    cut = np.asarray(quick(jax.vmap(lambda k: ada.cut(ones, ada.Draws(k, 0.4))))(KEYS)) == 0
    assert (cut[..., 0] == cut[..., 1]).all()
    rows, columns = cut[..., 0].any(2).sum(1), cut[..., 0].any(1).sum(1)
    assert ((rows * columns) == cut[..., 0].sum((1, 2))).all()  # rectangles
    assert rows.max() == 4 and columns.max() == 8
    assert (rows > 0).mean() == pytest.approx(0.4, abs=4 * 0.5 / np.sqrt(NUM))


# ---- the whole


def test_names_are_those_of_the_published_code_and_old_draws_stay():
    assert parse_policy('bgc') == ('bgc',) and parse_policy('blit,cutout') == ('blit', 'cutout')
    assert ada.PIPELINES['bgc'] == ('blit', 'geom', 'color')
    assert set(ada.PIPELINES['bgcfnc']) == set(ada.PARTS)
    batch = images(6, 4, (8, 8, 3))
    both = run(run(batch, KEYS[:4], policy=('color',)), KEYS[:4], policy=('blit',), chance=0.0)
    np.testing.assert_allclose(run(batch, KEYS[:4], policy=('color',)), both, atol=1e-5)
    assert not set(ada.PIPELINES) & set(POLICIES)


def test_an_image_s_draws_follow_its_key_and_the_chance():
    everything = functools.partial(run, policy=('bgcfnc',))
    batch, keys = images(7, 8, (6, 10, 3)), KEYS[:8]
    whole = everything(batch, keys, chance=0.8)
    assert whole.shape == batch.shape and whole.dtype == batch.dtype
    order = jnp.array([3, 1, 7, 0, 2, 5, 4, 6])
    np.testing.assert_allclose(
        everything(batch[order], keys[order], chance=0.8), whole[order], atol=1e-5
    )
    np.testing.assert_allclose(everything(batch, keys, chance=0.0), batch, atol=1e-5)
    changed = np.abs(whole - batch).max((1, 2, 3))
    assert (changed > 1e-2).all()


def test_transformations_are_drawn_apart_with_the_chance():
    def three(key):
        draws = ada.Draws(key, jnp.float32(0.3))
        return jnp.stack([draws.normal(0.5), draws.uniform(1.0, 2.0), draws.whole(2**20)])

    found = np.asarray(jax.vmap(three)(KEYS)) != 0
    np.testing.assert_allclose(found.mean(0), 0.3, atol=4 * 0.5 / np.sqrt(NUM))
    assert np.abs(np.corrcoef(found.T) - np.eye(3)).max() < 4 / np.sqrt(NUM)


def test_gradients_go_through():
    """The map is affine: its pullback is exact over any distance; and so is a penalty's through it."""
    batch, step, cotangent = (images(seed, 3, (8, 12, 3)) for seed in (9, 10, 11))

    @quick
    def pull(x):
        out, back = jax.vjp(lambda x: augment(x, KEYS[:3], ('bgcfnc',), 0.8), x)
        return out, back(cotangent)[0]

    (before, gradient), (after, same) = pull(batch), pull(batch + step)
    np.testing.assert_allclose(same, gradient, atol=1e-5)
    for i in range(3):
        expected = float(jnp.vdot(cotangent[i], after[i] - before[i]))
        assert float(jnp.vdot(gradient[i], step[i])) == pytest.approx(expected, rel=1e-3, abs=1e-3)

    @quick
    @jax.value_and_grad
    def penalty(scale):
        score = lambda x: scale * jnp.sum(jnp.square(augment(x, KEYS[:3], ('bgc',), 0.8)))  # noqa: E731
        return jnp.sum(jnp.square(jax.grad(score)(batch)))

    value, slope = penalty(jnp.float32(1.7))
    assert float(value) > 1 and float(slope) == pytest.approx(2 / 1.7 * float(value), rel=1e-4)


def test_a_config_names_a_pipeline():
    config = sngan_digits.get_config()
    config.update_from_flattened_dict({'data.augment': 'bgc', 'data.augment_target': 0.6})
    assert build.method(config).augment == ('bgc',)
    config.data.augment = 'bgx'
    with pytest.raises(ValueError, match=r"'bgx': accepted are color, .*, bgcfnc, each once"):
        build.plan(config)
