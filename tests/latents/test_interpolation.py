"""Paths between latents and classes, against closed forms."""

import numpy as np
import pytest

from snjax.latents.interpolation import PATHS, class_path, lerp, path, slerp

RNG = np.random.default_rng(0)
A, B = (RNG.normal(size=(5, 64)).astype(np.float32) for _ in range(2))
T = np.linspace(0, 1, 9)


@pytest.mark.parametrize('between', PATHS.values())
def test_the_ends_are_the_vectors_themselves(between):
    np.testing.assert_array_equal(between(A, B, 0.0), A)
    np.testing.assert_array_equal(between(A, B, 1), B)
    assert between(A, B, 0.5).dtype == np.float32


@pytest.mark.parametrize('between', PATHS.values())
def test_t_may_differ_from_row_to_row(between):
    t = np.array([0.0, 0.1, 0.5, 0.9, 1.0])
    rows = np.stack([between(A[i], B[i], float(t[i])) for i in range(5)])
    np.testing.assert_array_equal(between(A, B, t), rows)


def test_lerp():
    a, b = np.array([0.0, 4.0]), np.array([2.0, 0.0])
    np.testing.assert_allclose(lerp(a, b, 0.25), [0.5, 3.0], rtol=1e-15)


def test_slerp_on_a_quarter_circle():
    a, b = np.array([1.0, 0.0, 0.0]), np.array([0.0, 0.0, 1.0])
    arc = np.stack([slerp(a, b, float(t)) for t in T])
    angle = T * np.pi / 2
    expected = np.stack([np.cos(angle), 0 * angle, np.sin(angle)], axis=1)
    np.testing.assert_allclose(arc, expected, atol=1e-15)


def test_slerp_is_whites_formula_where_the_norms_are_equal():
    a, b = (8 * x / np.linalg.norm(x, axis=1, keepdims=True) for x in np.float64([A, B]))
    omega = np.arccos(np.sum(a * b, axis=1, keepdims=True) / 64)
    for t in T:
        expected = (np.sin((1 - t) * omega) * a + np.sin(t * omega) * b) / np.sin(omega)
        np.testing.assert_allclose(slerp(a, b, float(t)), expected, atol=1e-12)
        np.testing.assert_allclose(np.linalg.norm(expected, axis=1), 8, rtol=1e-12)


def test_slerp_keeps_norms_between_those_of_its_ends_and_lerp_does_not():
    norms = np.linalg.norm([A, B], axis=2)
    for t in T:
        arc = np.linalg.norm(slerp(A, B, float(t)), axis=1)
        np.testing.assert_allclose(arc, (1 - t) * norms[0] + t * norms[1], rtol=1e-5)
    # Nearly orthogonal vectors of one norm r have a middle of norm r / sqrt(2).
    middle = np.linalg.norm(lerp(A, B, 0.5), axis=1)
    assert np.all(middle < 0.9 * norms.min(axis=0))
    # The arc stays bounded between almost opposite ends of unequal norm.
    a, b = np.array([1.0, 0.0]), np.array([-3.0, 3e-3])
    assert np.linalg.norm(slerp(a, b, 0.5)) == pytest.approx(2.0, rel=1e-6)


def test_slerp_moves_by_equal_angles():
    arc = np.stack([slerp(A, B, float(t)) for t in T]).astype(np.float64)
    unit = arc / np.linalg.norm(arc, axis=2, keepdims=True)
    steps = np.arccos(np.sum(unit[1:] * unit[:-1], axis=2))
    np.testing.assert_allclose(steps, np.broadcast_to(steps[:1], steps.shape), rtol=1e-4)


def test_slerp_goes_straight_where_there_is_no_arc():
    zero = np.zeros(3)
    a = np.array([1.0, 2.0, 2.0])
    for b in (a, 5 * a, -a, -2 * a, zero, a * (1 + 1e-9)):
        for t in (0.0, 0.3, 0.5, 1.0):
            np.testing.assert_array_equal(slerp(a, b, t), lerp(a, b, t))
    np.testing.assert_array_equal(slerp(zero, zero, 0.5), zero)
    # One such row does not straighten the others.
    rows = slerp(np.stack([a, a]), np.array([-a, [2.0, -1.0, 2.0]]), 0.5)
    np.testing.assert_allclose(rows[0], zero, atol=1e-15)
    assert np.linalg.norm(rows[1]) == pytest.approx(3.0, rel=1e-12)


@pytest.mark.parametrize('how', PATHS)
def test_an_open_path_starts_at_the_first_point_and_ends_at_the_last(how):
    points = np.stack([A, B, A + 1])  # every row of a point has a way of its own
    way = path(points, 9, how=how)
    assert way.shape == (9, 5, 64)
    np.testing.assert_array_equal(way[[0, 4, 8]], points)
    np.testing.assert_allclose(way[1], PATHS[how](A, B, 0.25), rtol=1e-6)
    np.testing.assert_allclose(way[7], PATHS[how](B, A + 1, 0.75), rtol=1e-6)


@pytest.mark.parametrize('how', PATHS)
def test_a_closed_path_comes_back_and_repeats_no_frame(how):
    points = np.stack([A, B, A + 1])
    way = path(points, 12, how=how, closed=True)
    np.testing.assert_array_equal(way[[0, 4, 8]], points)
    # One more step from the last frame is the first.
    np.testing.assert_allclose(way[11], PATHS[how](A + 1, A, 0.75), rtol=1e-6)
    assert len(np.unique(way.reshape(12, -1), axis=0)) == 12


def test_frames_need_not_meet_the_points():
    way = path(np.array([[0.0], [3.0], [9.0]]), 4, how='lerp')
    np.testing.assert_allclose(way[:, 0], [0, 2, 5, 9], rtol=1e-15)


@pytest.mark.parametrize('closed', [False, True])
def test_a_single_point_stays(closed):
    np.testing.assert_array_equal(path(A[:1], 4, closed=closed), np.repeat(A[:1], 4, axis=0))
    np.testing.assert_array_equal(path(A[:2], 1, closed=closed), A[:1])


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        ({'frames': 2, 'how': 'arc'}, "path 'arc': accepted are slerp, lerp"),
        ({'frames': 0}, 'not 5 and 0'),
    ],
)
def test_impossible_paths_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        path(A, **arguments)


def test_class_paths():
    np.testing.assert_array_equal(class_path(2, 2, 3, 4), np.eye(4)[np.full((2, 3), 2)])
    np.testing.assert_array_equal(class_path(None, 3, 2, 2), np.eye(2)[[[0, 0], [1, 1], [0, 0]]])
    morph = class_path((3, 1), 2, 5, 4)
    assert morph.shape == (2, 5, 4) and morph.dtype == np.float32
    np.testing.assert_array_equal(morph[0], morph[1])
    np.testing.assert_allclose(morph[0, :, 3], [1, 0.75, 0.5, 0.25, 0], rtol=1e-6)
    np.testing.assert_allclose(morph[0, :, 1], [0, 0.25, 0.5, 0.75, 1], rtol=1e-6)
    assert not morph[:, :, [0, 2]].any()
    loop = class_path(range(3), 1, 6, 3, closed=True)[0]
    np.testing.assert_array_equal(loop[::2], np.eye(3))
    np.testing.assert_array_equal(loop[5], [0.5, 0, 0.5])
    assert class_path(None, 2, 3, 0) is None
    with pytest.raises(ValueError, match='label 4: the classes are 0 to 3'):
        class_path((0, 4), 2, 3, 4)
    with pytest.raises(ValueError, match='unconditional'):
        class_path(0, 2, 3, 0)


@pytest.mark.parametrize('how', [lerp, slerp])
def test_integers_are_interpolated_as_numbers(how, own_errors):
    expected = how(np.array([1.0, 0.0]), np.array([0.0, 1.0]), 0.5)
    np.testing.assert_array_equal(how(np.array([1, 0]), np.array([0, 1]), 0.5), expected)
    assert (expected > 0.4).all()
