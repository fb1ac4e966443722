"""`train_step` of the configs against the official codes' own numbers (`official/*.npz`).

Weights are compared relative to what they moved, after 1, 2, 5, 10 and 20 generator updates. The
codes themselves run in `test_official_codes.py`.
"""

import concurrent.futures
import functools
import os
import subprocess
import sys

import numpy as np
import pytest

from helpers.compiling import QUICKLY
from helpers.launching import ROOT
from oracles.official import compare, fixtures, ours
from oracles.official import inputs as feed
from oracles.official.mutations import MUTATIONS, QUICK

QUICK_MODELS = ('resnet', 'cnn', 'wgangp', 'glo_lap1')  # slow: all of them
QUICK_IN_FLOAT32 = ('cnn', 'glo_lap1')
EXACT = 1e-9
# Running means of BigGAN carry biases that are rounding noise, and images in evaluation what these
# biases have moved since.
NOISY = {'mean': 1e-7, 'images': 1e-8}
# In float32 the official code, too, strays from its float64 run, and its fixture says how far: by a
# factor that chance decides, because the kinks of ReLU and hinge make trajectories part. `mean`
# carries biases that are rounding noise.
LEAST, FACTOR = {'mean': 0.1, 'images': 0.02}, 20
# The single array that is worst: one that has hardly moved, or one entry whose gradient cancelled.
BY_CHANCE = {('resnet', 'gen worst'), ('collections', 'gen worst'), ('wgangp', 'dis worst')}


def run(tmp_path_factory, *flags, devices=1):
    """Trajectories of a process of its own, in which float64 may take float32's place."""
    out = tmp_path_factory.mktemp('official')
    path = os.pathsep.join(map(str, (ROOT, ROOT / 'tests')))
    xla = f'{QUICKLY} --xla_force_host_platform_device_count={devices}'
    env = os.environ | {'JAX_PLATFORMS': 'cpu', 'XLA_FLAGS': xla, 'PYTHONPATH': path}
    command = [sys.executable, '-m', 'oracles.official.ours', f'--out={out}', *flags]
    subprocess.run(command, cwd=ROOT, env=env, check=True)
    return {path.stem: dict(np.load(path)) for path in out.iterdir()}


@pytest.fixture(scope='module')
def both_types(tmp_path_factory):
    """The quick trajectories in float64 and in float32, of two processes at a time."""

    def part(models, *flags):
        flags = f'--models={",".join(models)}', *flags
        return run(tmp_path_factory, *flags, '--steps=2', '--look=none')

    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        in_float64, in_float32 = (
            pool.submit(part, QUICK_MODELS, f'--mutations={",".join(QUICK)}'),
            pool.submit(part, QUICK_IN_FLOAT32, '--dtype=float32'),
        )
        return in_float64.result(), in_float32.result()


@pytest.fixture(scope='module')
def quick(both_types):
    return both_types[0]


@pytest.fixture(scope='module')
def quick_in_float32(both_types):
    return both_types[1]


@pytest.fixture(scope='module')
def whole(tmp_path_factory):
    return run(tmp_path_factory, f'--models={",".join(ours.CONFIGS)}', '--steps=20')


@pytest.fixture(scope='module')
def whole_in_float32(tmp_path_factory):
    flags = f'--models={",".join(ours.CONFIGS)}', '--dtype=float32'
    return run(tmp_path_factory, *flags, '--steps=20')


@pytest.fixture(scope='module')
def mutated(tmp_path_factory):
    names = [name for name in MUTATIONS if name not in QUICK]
    return run(tmp_path_factory, '--models=', f'--mutations={",".join(names)}', '--steps=2')


def check(model, trajectory, limit):
    """Every error of every checkpoint is below `limit` of its time and kind; none is left out."""
    theirs = fixtures.fixture(model)
    times = [t for t in feed.kept(model) if any(k.startswith(f't{t}/') for k in trajectory)]
    assert times
    for t in times:
        found, arrays = compare.errors(model, trajectory, theirs, t)
        assert set(found) >= ({'gen'} if model in fixtures.GLO else {'gen', 'dis'})
        wrong = {k: e for k, e in found.items() if not e < limit(model, theirs, t, k)}
        assert not wrong, f'{model} after {t} updates: {wrong}; largest: {arrays[:3]}'


def exact(model, theirs, t, kind, limit=EXACT):
    return max(limit, NOISY.get(kind, 0)) if model.startswith('biggan') else limit


def rounding(model, theirs, t, kind):
    """What float32 may move: `FACTOR` times what it moves the official code."""
    if (model, kind) in BY_CHANCE:
        return np.inf
    return max(LEAST.get(kind, 2e-3), FACTOR * theirs[f'float32/t{t}/{kind}'])


@pytest.mark.parametrize('model', QUICK_MODELS)
def test_updates_are_those_of_the_official_code(quick, model):
    check(model, quick[model], exact)


@pytest.mark.parametrize('model', QUICK_IN_FLOAT32)
def test_updates_in_float32_are_the_official_ones_up_to_rounding(quick_in_float32, model):
    check(model, quick_in_float32[model], rounding)


@pytest.mark.slow
@pytest.mark.parametrize('model', list(ours.CONFIGS))
def test_twenty_updates_are_those_of_the_official_code(whole, model):
    check(model, whole[model], exact)


@pytest.mark.slow
@pytest.mark.parametrize('model', list(ours.CONFIGS))
def test_twenty_updates_in_float32(whole_in_float32, model):
    check(model, whole_in_float32[model], rounding)


@pytest.mark.slow
@pytest.mark.parametrize('model', ['cgan', 'r3gan', 'biggan_cifar'])
def test_four_devices_do_what_the_official_code_does_on_one(tmp_path_factory, model):
    """One real image on each; synchronized batch norm, and pairs of a real image and a fake."""
    flags = f'--models={model}', '--steps=2', '--look=none'
    found = run(tmp_path_factory, *flags, devices=4)
    check(model, found[model], functools.partial(exact, limit=1e-10))


# ---- a test of the tests: each change of the method is seen


def notice(name, trajectory):
    model = MUTATIONS[name].model
    found = [compare.errors(model, trajectory, fixtures.fixture(model), t)[0] for t in (1, 2)]
    assert max(e for errors in found for e in errors.values()) > 100 * EXACT


@pytest.mark.parametrize('name', QUICK)
def test_a_change_of_the_method_is_noticed(quick, name):
    notice(name, quick[f'mutated_{name}'])


@pytest.mark.slow
@pytest.mark.parametrize('name', [name for name in MUTATIONS if name not in QUICK])
def test_every_change_of_the_method_is_noticed(mutated, name):
    notice(name, mutated[f'mutated_{name}'])


# ---- the fixtures


@pytest.mark.parametrize('model', list(ours.CONFIGS))
def test_a_fixture_says_what_made_it_and_is_small(model):
    about = str(fixtures.fixture(model)['about'])
    assert fixtures.CODES[fixtures.code_of(model)][2] in about and 'float64' in about
    assert (fixtures.HERE / f'{model}.npz').stat().st_size < 500_000
