"""The sampler: permutations, batches of an epoch, pixels; all of it pure and independent of the
sharding.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from snjax.data import sampler

RNG = jax.random.key(11)


def round_keys(seed, shape=(6,)):
    return jax.random.bits(jax.random.key(seed), shape)


# ---- permute

permute = jax.jit(sampler.permute, static_argnums=1)


# Every number is a compilation. The examples stand around the powers of four, where the network's
# domain is just large enough, and where it is almost four times too large.
@settings(max_examples=6, deadline=None)
@given(num=st.integers(1, 5000), seed=st.integers(0, 2**31 - 1))
@example(num=1, seed=0)
@example(num=2, seed=1)
@example(num=5, seed=2)
@example(num=256, seed=3)
@example(num=257, seed=4)
@example(num=4097, seed=5)
def test_permute_is_a_bijection(num, seed):
    places = permute(jnp.arange(num), num, round_keys(seed))
    assert places.dtype == jnp.int32
    np.testing.assert_array_equal(np.sort(places), np.arange(num))


def test_permute_of_very_large_sets():
    """The whole of 2**30 cannot be listed: distinct indices must stay distinct and in range."""
    num = 2**30
    index = jnp.concatenate([jnp.arange(1000), jnp.arange(num - 1000, num)])
    for n in (num, num - 1):
        places = np.asarray(permute(index[index < n], n, round_keys(1)))
        assert len(set(places.tolist())) == len(places)
        assert 0 <= places.min() < n // 100 and n - n // 100 < places.max() < n


def test_an_index_goes_to_the_same_place_alone_and_among_others():
    """Cycle walking runs until the last of a batch has arrived; the others must stay where they
    are.
    """
    whole = permute(jnp.arange(1797), 1797, round_keys(2))
    for i in (0, 5, 1796):
        assert int(permute(jnp.array([i]), 1797, round_keys(2))[0]) == int(whole[i])


def test_keys_name_different_permutations():
    keys = round_keys(0, (200, 6))
    orders = jax.jit(jax.vmap(lambda k: sampler.permute(jnp.arange(50), 50, k)))(keys)
    assert len(np.unique(np.asarray(orders), axis=0)) == 200
    # Two permutations at random agree in one place on average; 200 * 199 / 2 pairs leave little to
    # chance.
    agree = (orders[:, None] == orders[None]).sum(-1)[np.triu_indices(200, 1)]
    assert agree.mean() == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize('bit', [0, 13, 31])
def test_every_bit_of_every_round_key_counts(bit):
    """It changes nearly all places."""
    keys, index = round_keys(3), jnp.arange(1797)
    before = permute(index, 1797, keys)
    for i in range(6):
        after = permute(index, 1797, keys.at[i].set(keys[i] ^ jnp.uint32(1 << bit)))
        assert np.mean(np.asarray(before != after)) > 0.75


def test_places_are_uniform():
    """Chi-square over keys: any place for an index, any pair of places for two neighbours, and any
    step between.

    The bounds are four standard deviations of the statistic above its mean, for a fixed seed.
    """
    num, draws = 100, 20_000
    keys = round_keys(7, (draws, 6))
    index = jnp.array([0, 1, 50, 99])
    places = np.asarray(jax.jit(jax.vmap(lambda k: sampler.permute(index, num, k)))(keys))
    for column in places.T:
        assert chi_square(column, num) < num + 4 * np.sqrt(2 * num)
    pairs = places[:, 0] // 10 * 10 + places[:, 1] // 10  # 10 x 10 cells, nearly equal
    expected = np.full((10, 10), 100.0) - 10 * np.eye(10)  # two indices never share a place
    counts = np.bincount(pairs, minlength=100).reshape(10, 10)
    expected *= draws / expected.sum()
    assert np.sum((counts - expected) ** 2 / expected) < 100 + 4 * np.sqrt(200)
    steps = (places[:, 1] - places[:, 0]) % num
    assert chi_square(steps[steps > 0] - 1, num - 1) < num + 4 * np.sqrt(2 * num)


def chi_square(values, num):
    counts, expected = np.bincount(values, minlength=num), len(values) / num
    return np.sum((counts - expected) ** 2 / expected)


@pytest.mark.parametrize('num', [0, -3, 2**30 + 1])
def test_permute_refuses(num):
    with pytest.raises(ValueError, match=rf'^permute works on 1 to 2\*\*30 items, not {num}$'):
        sampler.permute(jnp.arange(2), num, round_keys(0))


# ---- batch_indices


@functools.partial(jax.jit, static_argnums=(1, 2))
def whole_batches(batches, batch_size, num, rng=RNG):
    ids = jnp.arange(batch_size)
    return jax.vmap(lambda b: sampler.batch_indices(rng, b, batch_size, num, ids))(batches)


@pytest.mark.parametrize(('num', 'batch_size'), [(1797, 32), (10, 10), (11, 3)])
def test_an_epoch_repeats_nothing_and_the_next_has_another_order(num, batch_size):
    per_epoch = num // batch_size
    batches = np.asarray(whole_batches(jnp.arange(3 * per_epoch), batch_size, num))
    epochs = batches.reshape(3, -1)
    for epoch in epochs:
        assert len(set(epoch.tolist())) == per_epoch * batch_size
        assert 0 <= epoch.min() and epoch.max() < num
    assert not np.array_equal(epochs[0], epochs[1]) and not np.array_equal(epochs[1], epochs[2])


def test_all_images_are_seen_though_an_epoch_leaves_a_remainder_out():
    batches = np.asarray(whole_batches(jnp.arange(3 * 20), 3, 11))
    counts = np.bincount(batches.ravel(), minlength=11)
    assert counts.min() > 0 and counts.max() <= 20


def test_another_seed_another_order():
    a = whole_batches(jnp.arange(4), 32, 1797)
    b = whole_batches(jnp.arange(4), 32, 1797, jax.random.key(12))
    assert np.mean(np.asarray(a == b)) < 0.05


def test_batch_numbers_up_to_the_last_int32():
    """A run of any length: 2**31 - 1 batches of 128 are 275 billion images."""
    last = 2**31 - 1
    batches = np.asarray(whole_batches(jnp.array([last - 1, last], jnp.int32), 128, 50_000))
    for batch in batches:
        assert len(set(batch.tolist())) == 128 and 0 <= batch.min() and batch.max() < 50_000
    assert not np.array_equal(*batches)
    # The epoch that the last batch lies in, counted with Python's integers, repeats nothing either.
    first = last // 390 * 390
    epoch = np.asarray(
        whole_batches(first + jnp.arange(last - first, dtype=jnp.int32), 128, 50_000)
    )
    together = np.concatenate([epoch, batches[1:]])
    assert len(set(together.ravel().tolist())) == together.size


def test_shards_are_slices_of_the_batch():
    indices = jax.jit(sampler.batch_indices, static_argnums=(2, 3))
    whole = indices(RNG, jnp.int32(70), 32, 1797, jnp.arange(32))
    parts = [indices(RNG, jnp.int32(70), 32, 1797, ids) for ids in jnp.arange(32).reshape(4, -1)]
    np.testing.assert_array_equal(np.concatenate(parts), whole)


# ---- to_float


def as_images(flip, dequantize, image, num=400):
    one = functools.partial(sampler.to_float, flip=flip, dequantize=dequantize)
    keys = sampler.example_keys(RNG, jnp.arange(num))
    return np.asarray(jax.jit(jax.vmap(one, (None, 0)))(image, keys))


RAMP = np.arange(256, dtype=np.uint8).reshape(16, 16, 1)


def test_plain_pixels_are_exact():
    x = as_images(False, False, RAMP, 1)[0]
    assert x.dtype == np.float32 and x.shape == RAMP.shape
    np.testing.assert_allclose(x, RAMP.astype(np.float64) / 127.5 - 1, atol=2e-7)
    assert x.min() == -1 and x.max() == pytest.approx(1, abs=2e-7)


def test_dequantized_pixels_fill_their_step():
    """x / 128 - 1 + U(0, 1/128): between the pixel's value and the next one's, uniform, apart for
    every pixel.
    """
    x = as_images(False, True, RAMP).astype(np.float64)
    low = RAMP.astype(np.float64) / 128 - 1
    noise = (x - low) * 128
    assert noise.min() >= -1e-4 and noise.max() <= 1 + 1e-4
    assert x.min() >= -1 and x.max() <= 1
    assert noise.mean() == pytest.approx(0.5, abs=0.01)
    assert noise.var() == pytest.approx(1 / 12, rel=0.02)
    assert noise.min() < 0.001 and noise.max() > 0.999
    for a, b in ((noise[0], noise[1]), (noise[:, 0, 0], noise[:, 0, 1])):
        assert abs(np.corrcoef(a.ravel(), b.ravel())[0, 1]) < 0.2


def test_flip_mirrors_about_half_of_the_images_left_to_right():
    plain = as_images(False, False, RAMP, 1)[0]
    flipped = as_images(True, False, RAMP)
    # Two programs may round differently; neighbouring pixels are 1e-2 apart.
    mirrored = np.array([np.abs(x - plain[:, ::-1]).max() < 1e-6 for x in flipped])
    same = np.array([np.abs(x - plain).max() < 1e-6 for x in flipped])
    assert np.all(mirrored ^ same)
    assert 0.4 < mirrored.mean() < 0.6


def test_flip_and_noise_are_independent():
    """Mirrored images have the same noise distribution; a key used twice would tie them."""
    x = as_images(True, True, np.zeros((4, 4, 1), np.uint8) + np.arange(4, dtype=np.uint8)[:, None])
    mirrored = x[:, 0, 0, 0] > x[:, 0, 3, 0]
    noise = ((x + 1) * 128) % 1
    assert 0.4 < mirrored.mean() < 0.6
    assert noise[mirrored].mean() == pytest.approx(noise[~mirrored].mean(), abs=0.02)


# ---- draw


def a_set(num=40):
    pixels = np.random.default_rng(0).integers(0, 256, (num, 4, 4, 3), np.uint8)
    return {'image': jnp.asarray(pixels), 'label': jnp.arange(num, dtype=jnp.int32) * 10}


@functools.partial(jax.jit, static_argnames=('num_batches', 'flip', 'dequantize'))
def drawn(step, ids, rng=RNG, num_batches=2, flip=True, dequantize=True):
    return sampler.draw(
        a_set(),
        rng,
        step,
        ids,
        num_batches=num_batches,
        batch_size=8,
        flip=flip,
        dequantize=dequantize,
    )


IDS = jnp.arange(8)


def test_images_in_rows_are_the_images():
    images = np.asarray(a_set()['image'])
    rows = sampler.Rows.of(images)
    assert rows.pixels.shape == (40, 48) and rows.shape == (4, 4, 3)
    index = jnp.array([7, 0, 39])
    np.testing.assert_array_equal(jax.jit(lambda r, i: r[i])(rows, index), images[index])
    shapes = sampler.Rows.of(jax.ShapeDtypeStruct(images.shape, np.uint8))
    assert jax.eval_shape(lambda r, i: r[i], shapes, index).shape == (3, 4, 4, 3)


def test_draw_shapes_and_what_belongs_together():
    batch = drawn(jnp.int32(4), IDS, flip=False, dequantize=False)
    assert batch['image'].shape == (2, 8, 4, 4, 3) and batch['image'].dtype == jnp.float32
    assert batch['label'].shape == batch['index'].shape == (2, 8)
    np.testing.assert_array_equal(batch['label'], batch['index'] * 10)
    pixels = np.asarray(a_set()['image'])[np.asarray(batch['index'])]
    np.testing.assert_allclose(batch['image'], pixels / 127.5 - 1, atol=1e-6)


def test_draw_is_pure_and_depends_on_step_and_seed():
    batch, again = drawn(jnp.int32(4), IDS), drawn(jnp.int32(4), IDS)
    for name in batch:
        np.testing.assert_array_equal(batch[name], again[name])
    for other in (drawn(jnp.int32(5), IDS), drawn(jnp.int32(4), IDS, jax.random.key(12))):
        assert not np.array_equal(batch['index'], other['index'])
        assert not np.any(np.asarray(batch['image'] == other['image']).all((2, 3, 4)))


def test_successive_steps_walk_through_the_epoch():
    """Steps of 2 batches: 5 batches of 8 are the 40 images, wherever a step begins."""
    index = np.concatenate([np.asarray(drawn(jnp.int32(s), IDS)['index']) for s in range(5)])
    for epoch in index.reshape(2, 40):
        assert sorted(epoch.tolist()) == list(range(40))


def test_draw_does_not_depend_on_the_sharding():
    """Order, flips and noise of an example are those of its place in the global batch."""
    whole = drawn(jnp.int32(6), IDS)
    parts = [drawn(jnp.int32(6), ids) for ids in IDS.reshape(4, 2)]
    for name in whole:
        np.testing.assert_array_equal(np.concatenate([p[name] for p in parts], axis=1), whole[name])


def test_an_image_that_comes_again_comes_with_other_noise_and_flips():
    batches = [drawn(jnp.int32(s), IDS) for s in range(15)]
    index = np.concatenate([np.asarray(b['index']).ravel() for b in batches])
    images = np.concatenate([np.asarray(b['image']).reshape(-1, 4, 4, 3) for b in batches])
    mirrored = []
    for i, pixels in enumerate(np.asarray(a_set()['image'])):
        seen, low = images[index == i], pixels / 128 - 1
        assert len(seen) == len(np.unique(seen, axis=0)) == 6
        for x in seen:
            fits = [np.all(abs(128 * (x - y) - 0.5) < 0.501) for y in (low, low[:, ::-1])]
            assert sum(fits) == 1
            mirrored.append(fits[1])
    assert 0.35 < np.mean(mirrored) < 0.65  # of 240
