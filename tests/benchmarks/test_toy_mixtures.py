"""The toy benchmark: its scorers in closed form, its sets against other draws of them, and a short
run end to end.
"""

import functools
import json

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import make_swiss_roll

from benchmarks.toy_mixtures import __main__ as command
from benchmarks.toy_mixtures import pictures, training
from benchmarks.toy_mixtures.methods import METHODS, POINT, Discriminator, make_gan
from benchmarks.toy_mixtures.results import Results
from benchmarks.toy_mixtures.sets import SETS, coverage
from snjax import parallel, spectral
from snjax.nn import layers

NUM_STEPS = 300
CENTRES = {
    'ring': [(np.cos(a) / 0.707, np.sin(a) / 0.707) for a in np.arange(8) * np.pi / 4],
    'grid': [(2 * x / 2.828, 2 * y / 2.828) for x in range(-2, 3) for y in range(-2, 3)],
}
SIGMAS = {'ring': 0.02 / 1.414, 'grid': 0.1 / 2.828}


def curve(t):
    return (t * np.stack([np.cos(t), np.sin(t)]) / 7.5).T


# ---- scorers


@pytest.mark.parametrize('name', CENTRES)
def test_perfect_samples_cover_every_mode_and_one_mode_is_one(name):
    centres = np.array(CENTRES[name])
    score = SETS[name].score
    num = len(centres)
    assert score(np.repeat(centres, 10, axis=0)) == {'modes': num, 'num_modes': num, 'good': 1.0}
    assert score(centres[3] * np.ones((50, 1))) == {'modes': 1, 'num_modes': num, 'good': 1.0}


@pytest.mark.parametrize('name', CENTRES)
def test_a_sample_is_good_within_three_sigmas(name):
    inside, outside = (np.array([[r * SIGMAS[name], 0]]) for r in (2.98, 3.02))
    centre = np.array(CENTRES[name][0])
    assert SETS[name].score(centre + inside)['good'] == 1
    assert SETS[name].score(centre + outside) == {
        'modes': 0,
        'num_modes': len(CENTRES[name]),
        'good': 0.0,
    }


@pytest.mark.parametrize('name', CENTRES)
def test_noise_is_good_where_the_discs_are(name):
    side = 4.0
    points = np.random.default_rng(0).uniform(-side / 2, side / 2, (40_000, 2))
    share = len(CENTRES[name]) * np.pi * (3 * SIGMAS[name]) ** 2 / side**2
    assert abs(SETS[name].score(points)['good'] - share) < 4 * np.sqrt(share / 40_000)


def test_a_mode_counts_from_a_tenth_of_its_fair_share_of_good_samples():
    # 1,000 samples, fair shares of 750 and 250: 75 and 25 are a tenth.
    nearest = np.array([0] * 900 + [1] * 100)
    for good, modes in [((75, 25), 2), ((74, 25), 1), ((75, 24), 1), ((0, 100), 1), ((0, 0), 0)]:
        is_good = np.concatenate([np.arange(900) < good[0], np.arange(100) < good[1]])
        scores = coverage(nearest, is_good, np.array([0.75, 0.25]))
        assert scores == {'modes': modes, 'num_modes': 2, 'good': sum(good) / 1000}, good


def test_swiss_roll_arcs_are_of_equal_length_and_unequal_share():
    t = np.linspace(1.5 * np.pi, 4.5 * np.pi, 100_001)
    points = curve(t)
    lengths = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(points, axis=0), axis=1))])
    arc = np.minimum((20 * lengths / lengths[-1]).astype(int), 19)
    score = SETS['swiss_roll'].score
    assert score(points[::20]) == {'modes': 20, 'num_modes': 20, 'good': 1.0}
    for number in (0, 7, 19):
        assert score(points[arc == number][::20])['modes'] == 1
    # The innermost arc holds more of the samples than the outermost: t runs faster there.
    inner, outer = (np.mean(arc == number) for number in (0, 19))
    assert 1.5 < inner / outer < 3


def test_swiss_roll_samples_are_good_within_a_tenth():
    t = np.linspace(1.5 * np.pi, 4.5 * np.pi, 1000)[10:-10]
    tangent = np.stack([np.cos(t) - t * np.sin(t), np.sin(t) + t * np.cos(t)], axis=1)
    normal = tangent[:, ::-1] * (1, -1) / np.linalg.norm(tangent, axis=1, keepdims=True)
    for offset, good in [(0.098, 1), (-0.098, 1), (0.102, 0), (-0.102, 0)]:
        assert SETS['swiss_roll'].score(curve(t) + offset * normal)['good'] == good


def test_points_that_are_not_finite_are_not_good():
    for toy_set in SETS.values():
        scores = toy_set.score(np.full((100, 2), np.nan))
        assert (scores['modes'], scores['good']) == (0, 0)


# ---- sets


@pytest.mark.parametrize('name', SETS)
def test_true_samples_are_covered_and_good(name):
    keys = jax.random.split(jax.random.key(1), 8_000)
    points = np.asarray(jax.jit(jax.vmap(SETS[name].draw))(keys))
    scores = SETS[name].score(points)
    assert scores['modes'] == scores['num_modes']
    if name == 'swiss_roll':  # beside another draw of the same set
        other, _ = make_swiss_roll(8_000, noise=0.25, random_state=0)
        other = other[:, [0, 2]] / 7.5
        assert abs(scores['good'] - SETS[name].score(other)['good']) < 0.003
        np.testing.assert_allclose(points.mean(axis=0), other.mean(axis=0), atol=0.03)
        np.testing.assert_allclose(np.cov(points.T), np.cov(other.T), atol=0.04)
    else:  # a disc of three sigmas holds 1 - exp(-9 / 2) of a Gaussian in the plane
        assert abs(scores['good'] - (1 - np.exp(-4.5))) < 0.005


# ---- layers


def test_tracked_discriminator_is_the_plain_one_with_its_sigmas():
    x = jax.random.normal(jax.random.key(1), (5, *POINT))
    tracked = Discriminator(16, METHODS['spectral_regularization'].dense)
    init = functools.partial(tracked.init, train=False)
    variables = parallel.run_once(init, jax.random.key(0), x)
    plain = Discriminator(16, layers.Dense).apply({'params': variables['params']}, x, train=False)
    np.testing.assert_array_equal(tracked.apply(variables, x, train=False), plain)
    assert len(spectral.sigmas(variables['spectral'])) == 4


@pytest.mark.parametrize('method', ['batch_norm', 'layer_norm'])
def test_no_norm_follows_the_first_layer_and_none_has_a_multiplier(method):
    dis = Discriminator(16, norm=METHODS[method].norm)
    init = functools.partial(dis.init, train=False)
    params = jax.eval_shape(init, jax.random.key(0), jnp.zeros((2, *POINT)))['params']
    norms = {name: set(params[name]) for name in params if name.startswith('norm')}
    assert norms == {'norm1': {'bias'}, 'norm2': {'bias'}}


def test_weight_norm_has_outputs_of_length_one_whatever_the_kernel():
    dense = METHODS['weight_norm'].dense(7, kernel_init=nn.initializers.normal(3.0), name='h')
    variables = dense.init(jax.random.key(0), jnp.zeros((1, 4)))
    effective = np.asarray(dense.apply(variables, jnp.eye(4)))
    np.testing.assert_allclose(np.linalg.norm(effective, axis=0), 1, atol=1e-5)


# ---- runs


@pytest.fixture(scope='module')
def program():
    return training.Program(make_gan(METHODS['gan'], NUM_STEPS), NUM_STEPS)


def test_a_run_writes_its_row_and_picture_and_is_not_repeated(
    program, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(training, 'Program', lambda gan, num_steps: program)
    arguments = [f'--out={tmp_path}', '--methods=gan', '--sets=ring', '--seeds=1']
    arguments.append(f'--num_steps={NUM_STEPS}')
    command.main(arguments)
    (row,) = json.loads((tmp_path / 'results.json').read_text())
    points = np.load(tmp_path / 'gan-ring-0.npy')
    assert (row['method'], row['set'], row['seed']) == ('gan', 'ring', 0)
    assert f'{row["modes"]} of 8 modes' in capsys.readouterr().out
    assert f'**{row["modes"]}** ({row["modes"]})' in (tmp_path / 'table.md').read_text()
    with Image.open(tmp_path / 'ring.png') as picture:
        assert picture.size == (600, 164)
    # It has found the ring, of radius 1.414: an untrained generator's points are strewn around the
    # origin.
    assert 1.2 < np.median(np.linalg.norm(points, axis=1)) < 1.6

    monkeypatch.setattr(training, 'Program', None)  # a second run needs none
    command.main(arguments)
    assert capsys.readouterr().out == ''
    with pytest.raises(ValueError, match=f'runs of {NUM_STEPS} steps, not 7'):
        Results(tmp_path, num_steps=7)

    command.main([f'--out={tmp_path}/merged', '--methods=', f'--merge={tmp_path}', arguments[-1]])
    assert json.loads((tmp_path / 'merged' / 'results.json').read_text()) == [row]


def test_a_seed_gives_its_points_bit_for_bit_and_another_others(program):
    first, second, other = program('ring', 0), program('ring', 0), program('ring', 1)
    np.testing.assert_array_equal(first, second)
    assert not np.array_equal(first, other)


# ---- pictures


def test_points_stand_where_they_are_and_those_outside_nowhere():
    canvas = np.zeros((10, 20, 3), np.uint8)
    points = np.array([[-0.99, 0.99], [0.99, -0.99], [0.0, 5.0], [np.nan, 0.0], [np.inf, 0.0]])
    pictures.scatter(canvas, points, 1.0, (1, 2, 3))
    assert [tuple(p) for p in np.argwhere(canvas[..., 0])] == [(0, 0), (9, 19)]
    assert tuple(canvas[0, 0]) == (1, 2, 3)


def test_flags_name_what_is_accepted(capsys):
    for flag, expected in [
        ('--methods=sgan', "'sgan': accepted are sngan"),
        ('--seeds=0', '0: a pos'),
    ]:
        with pytest.raises(SystemExit, match='2'):
            command.main(['--out=x', flag])
        assert expected in capsys.readouterr().err
