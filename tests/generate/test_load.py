"""`snjax.load` on a run that launch.py made."""

import functools
import json
import shutil
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict, unflatten_dict
from safetensors import safe_open
from safetensors.numpy import load_file

import snjax
from configs import sagan_cifar
from helpers.launching import CHECKPOINT_EVERY, NUM_STEPS, ROOT, state
from snjax import models
from snjax.generate.load import from_tree
from snjax.runs.checkpoint import load_tree


@pytest.fixture(scope='module')
def trained(finished_run):
    return snjax.load(finished_run.workdir)


def flat(tree):
    return {k: np.asarray(v) for k, v in flatten_dict(tree, sep='/').items()}


def unflatten(arrays):
    return unflatten_dict({k: jnp.asarray(v) for k, v in arrays.items()}, sep='/')


def assert_equal(a, b):
    assert a.keys() == b.keys()
    for name, leaf in a.items():
        np.testing.assert_array_equal(leaf, b[name], err_msg=name)


# ---- what is loaded


def test_gives_the_newest_checkpoint_with_its_config(trained, finished_run):
    assert trained.step == NUM_STEPS
    assert trained.config == json.loads((finished_run.workdir / 'config.json').read_text())
    _, leaves = state(finished_run.workdir)
    for name, variables in (('raw', trained.raw), ('ema', trained.ema)):
        params = {k.split('/', 1)[1]: v for k, v in flat(variables).items() if k[0] == 'p'}
        start = {'raw': 'gen/params/', 'ema': 'ema/params/'}[name]
        stored = {k[len(start) :]: v for k, v in leaves.items() if k.startswith(start)}
        assert_equal(params, stored)
    assert set(trained.raw) == set(trained.ema) == {'params', 'batch_stats'}


def test_any_kept_step_can_be_chosen(trained, finished_run):
    earlier = snjax.load(str(finished_run.workdir), step=NUM_STEPS - CHECKPOINT_EVERY)
    assert earlier.step == NUM_STEPS - CHECKPOINT_EVERY
    stored = load_tree(finished_run.workdir / 'checkpoints', earlier.step)[1]['gen']['params']
    assert_equal(flat(earlier.raw['params']), flat(stored))
    kernels = (t.raw['params']['project']['kernel'] for t in (earlier, trained))
    assert not np.array_equal(*kernels)


def test_weights_are_the_ema_unless_raw_is_asked_for(trained):
    assert trained.params is trained.ema['params']
    assert trained.variables('ema') is trained.variables('auto') is trained.ema
    assert trained.variables('raw') is trained.raw
    raw, ema = (t['params']['project']['kernel'] for t in (trained.raw, trained.ema))
    # The average trails: near, and not the same.
    assert 0 < np.abs(raw - ema).max() < np.abs(raw).max()


def test_without_an_ema_auto_is_raw(finished_run, tmp_path):
    trained = snjax.load(finished_run.workdir)
    plain = type(trained)(trained.config, trained.step, trained.gen, trained.raw, None)
    assert plain.variables() is plain.raw
    assert plain.params is plain.raw['params']
    with pytest.raises(ValueError, match='kept no moving average'):
        plain.variables('ema')
    np.testing.assert_array_equal(plain.sample(2), trained.sample(2, weights='raw'))


# ---- samples


def test_samples_are_the_networks_images(trained):
    """By hand: one key an example, N(0, I), the generator with running statistics."""
    samples = trained.sample(3, seed=7, weights='raw')
    assert samples.shape == (3, 16, 16, 1)
    assert samples.dtype == np.float32
    rng = jax.random.fold_in(jax.random.key(7), 4)  # the fifth role of a seed: samples
    keys = [jax.random.fold_in(rng, i) for i in range(3)]
    z = jnp.stack([jax.random.normal(key, (8,)) for key in keys])
    expected = jax.jit(functools.partial(trained.gen.apply, train=False))(trained.raw, z)
    np.testing.assert_allclose(samples, expected, atol=1e-5)


def test_samples_are_images_and_not_all_the_same(trained):
    samples = trained.sample(20)
    assert samples.min() >= -1 and samples.max() <= 1
    assert np.isfinite(samples).all()
    assert np.ptp(samples, axis=0).max() > 0.01  # z matters
    # And so does the place: in most images, for so small a network may have all of a layer's ReLU
    # at 0.
    assert np.median(np.ptp(samples, axis=(1, 2))) > 0.01


def test_samples_are_a_function_of_seed_and_weights(trained):
    first = trained.sample(4, seed=1)
    np.testing.assert_array_equal(trained.sample(4, seed=1), first)
    assert not np.array_equal(trained.sample(4, seed=2), first)
    assert not np.array_equal(trained.sample(4, seed=1, weights='raw'), first)


def test_the_first_images_do_not_depend_on_how_many_follow(trained):
    ten = trained.sample(10)
    for num, batch_size in ((4, 250), (10, 3), (1, 1)):
        fewer = trained.sample(num, batch_size=batch_size)
        assert len(fewer) == num
        np.testing.assert_allclose(fewer, ten[:num], atol=1e-5)


def test_truncation_draws_z_from_nearer_the_middle(trained):
    apply = jax.jit(functools.partial(trained.gen.apply, train=False))
    centre = np.asarray(apply(trained.ema, jnp.zeros((1, 8))))
    whole, near, nearer = (
        np.abs(trained.sample(32, truncation=t) - centre).max() for t in (None, 0.5, 1e-6)
    )
    assert nearer < 1e-4 < near < whole


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        ({'num': 0}, 'num 0'),
        ({'num': -3}, 'num -3'),
        ({'num': 2, 'truncation': 0.0}, 'truncation 0'),
        ({'num': 2, 'truncation': -2.0}, 'truncation -2'),
        ({'num': 2, 'weights': 'avg'}, "weights 'avg': accepted are auto, ema, raw"),
        ({'num': 2, 'batch_size': 0}, 'batch_size 0'),
    ],
)
def test_impossible_samples_are_named(trained, arguments, message):
    with pytest.raises(ValueError, match=message) as error:
        trained.sample(**arguments)
    assert '\n' not in str(error.value)


# ---- files


@pytest.mark.parametrize('weights', ['auto', 'raw'])
def test_export_holds_the_variables_and_what_they_are(trained, tmp_path, weights):
    path = trained.export(tmp_path / 'new' / 'gen.safetensors', weights)
    assert path == tmp_path / 'new' / 'gen.safetensors'
    loaded = load_file(path)
    assert_equal(loaded, flat(trained.variables(weights)))
    assert {'params/project/kernel', 'batch_stats/norm1/mean'} <= set(loaded)
    with safe_open(path, framework='numpy') as file:
        about = file.metadata()
    assert json.loads(about['config']) == trained.config
    assert about['step'] == str(NUM_STEPS)
    assert about['weights'] == {'auto': 'ema', 'raw': 'raw'}[weights]


def test_exported_variables_make_the_same_images(trained, tmp_path):
    """With nothing but the file: its metadata say which network, its names where each array
    belongs.
    """
    path = trained.export(tmp_path / 'gen.safetensors')
    with safe_open(path, framework='numpy') as file:
        config = json.loads(file.metadata()['config'])
    gen = models.make_generator(
        architecture=config['model']['architecture'],
        image_size=config['data']['image_size'],
        channels=config['data']['channels'],
        gen_width=config['model']['gen_width'],
    )
    z = jax.random.normal(jax.random.key(0), (3, config['model']['dim_z']))
    made = gen.apply(unflatten(load_file(path)), z, train=False)
    expected = trained.gen.apply(trained.ema, z, train=False)
    np.testing.assert_array_equal(made, expected)


# ---- errors


def test_no_run_no_step_and_damage_are_named(finished_run, tmp_path):
    with pytest.raises(FileNotFoundError, match=r'holds no run: there is no config\.json'):
        snjax.load(tmp_path)
    with pytest.raises(FileNotFoundError, match=r'no checkpoint of step 7 .*\[40, 50, 60\]'):
        snjax.load(finished_run.workdir, step=7)
    with pytest.raises(FileNotFoundError, match=r'no checkpoint of step 0 '):
        snjax.load(finished_run.workdir, step=0)
    workdir = finished_run.copy(tmp_path / 'run')
    shutil.rmtree(workdir / 'checkpoints')
    with pytest.raises(FileNotFoundError, match='no checkpoint in'):
        snjax.load(workdir)


# Orbax leaves its failed reads to the garbage collector, which reports them; it is run before other
# tests start.
@pytest.mark.filterwarnings('ignore::pytest.PytestUnraisableExceptionWarning')
def test_a_damaged_newest_checkpoint_is_passed_over(finished_run, tmp_path):
    workdir = finished_run.copy(tmp_path / 'run')
    (data,) = (workdir / 'checkpoints' / str(NUM_STEPS) / 'state' / 'd').iterdir()
    damaged = bytearray(data.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    data.write_bytes(damaged)
    assert snjax.load(workdir).step == NUM_STEPS - CHECKPOINT_EVERY
    with pytest.raises(ValueError, match=f'step {NUM_STEPS}'):
        snjax.load(workdir, step=NUM_STEPS)


def test_a_damaged_config_is_named(finished_run, tmp_path):
    workdir = finished_run.copy(tmp_path / 'run')
    (workdir / 'config.json').write_text('{"method": ')
    with pytest.raises(ValueError, match=r'config\.json'):
        snjax.load(workdir)


@pytest.mark.parametrize(
    'module', ['snjax', 'snjax.spectral', 'snjax.objectives.losses', 'snjax.generate.load']
)
def test_imports_start_no_backend(module):
    """Whoever imports the library still decides about devices and processes."""
    script = f"""
import {module}
from jax._src import xla_bridge
assert not xla_bridge._backends, xla_bridge._backends
"""
    subprocess.run([sys.executable, '-c', script], cwd=ROOT, check=True)


def test_checkpoints_of_one_network_share_its_module():
    """Else every score of a training would compile the generator again: normalized layers are not
    equal otherwise.
    """
    config = sagan_cifar.get_config().to_dict()
    tree = {'gen': {'params': {}}}
    first, later = (from_tree(config, step, tree) for step in (1, 2))
    assert first.gen is later.gen
    other = {**config, 'model': {**config['model'], 'gen_width': 8}}
    assert from_tree(other, 1, tree).gen != first.gen
