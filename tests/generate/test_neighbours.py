"""Nearest neighbours against brute force, with ties and blocks of every size."""

import numpy as np
import pytest

from snjax.generate import neighbours
from snjax.generate.neighbours import nearest

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (60, 4, 4, 3), dtype=np.uint8)
QUERIES = RNG.integers(0, 256, (7, 4, 4, 3), dtype=np.uint8)


def brute_force(queries, images, k):
    """By whole numbers, pair by pair; among equals the lower index."""
    index, distance = [], []
    for query in queries.astype(np.int64):
        squared = [int(np.sum((query - image) ** 2)) for image in images.astype(np.int64)]
        order = sorted(range(len(images)), key=lambda i: (squared[i], i))[:k]
        index.append(order)
        distance.append([np.sqrt(squared[i]) for i in order])
    return np.array(index), np.array(distance)


@pytest.mark.parametrize('block', [1, 7, 16, 60, 1000])
@pytest.mark.parametrize('k', [1, 5, 60])
def test_against_brute_force_in_blocks(monkeypatch, block, k):
    monkeypatch.setattr(neighbours, '_BLOCK_ELEMENTS', block * 48)
    monkeypatch.setattr(neighbours, '_BLOCK_QUERIES', 3)
    found = nearest(QUERIES, IMAGES, k)
    index, distance = brute_force(QUERIES, IMAGES, k)
    np.testing.assert_array_equal(found.index, index)
    np.testing.assert_array_equal(found.distance, distance)


@pytest.mark.parametrize('block', [1, 4, 100])
def test_equally_far_images_come_in_their_order(monkeypatch, block):
    """Pixels of two levels in a 2x2 image leave few distances, so that most are shared."""
    monkeypatch.setattr(neighbours, '_BLOCK_ELEMENTS', block * 4)
    images = RNG.integers(0, 2, (40, 2, 2, 1), dtype=np.uint8)
    queries = RNG.integers(0, 2, (9, 2, 2, 1), dtype=np.uint8)
    found = nearest(queries, images, 12)
    index, distance = brute_force(queries, images, 12)
    assert len(np.unique(distance)) < 6
    np.testing.assert_array_equal(found.index, index)
    np.testing.assert_array_equal(found.distance, distance)


def test_an_image_of_the_set_is_its_own_neighbour_at_distance_0():
    found = nearest(IMAGES, IMAGES, 2)
    np.testing.assert_array_equal(found.index[:, 0], np.arange(60))
    assert not found.distance[:, 0].any() and found.distance[:, 1].min() > 0


def test_distances_are_in_pixel_levels():
    black, white = (np.full((1, 2, 2, 3), level, np.uint8) for level in (0, 255))
    assert nearest(black, white, 1).distance[0, 0] == pytest.approx(255 * np.sqrt(12), rel=1e-15)
    # One level in one of 3072 bright pixels, where float32 sums (2e8) no longer count by ones.
    bright = np.full((2, 32, 32, 3), 255, np.uint8)
    bright[1, 0, 0, 0] = 254
    found = nearest(bright[1:], bright, 2)
    np.testing.assert_array_equal(found.index, [[1, 0]])
    np.testing.assert_array_equal(found.distance, [[0, 1]])


@pytest.mark.parametrize('k', [0, -1, 61])
def test_impossible_numbers_are_named(k):
    with pytest.raises(ValueError, match=f'neighbours is {k}: 1 to 60 are accepted'):
        nearest(QUERIES, IMAGES, k)


@pytest.mark.usefixtures('own_errors')
def test_other_sizes_are_named():
    with pytest.raises(ValueError, match=r'queries of \(4, 4, 3\) and images of \(4, 3, 3\)'):
        nearest(QUERIES, IMAGES[:, :, :3], 1)
