"""Tests of snjax.training.program: compiled in a thread, for arguments of given shapes."""

import concurrent.futures
import re
import threading

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.gan import Gan
from helpers.parallel_worker import OPTIONS
from helpers.tiny_gan import IMAGE, make_gan
from snjax import parallel
from snjax.latents.sampling import seed_key
from snjax.parallel import cost
from snjax.training import program
from snjax.training.program import StepProgram
from snjax.training.step import compile_ahead


def run(state, data):
    return {'w': state['w'] @ data['x']}, {'sum': state['w'].sum()}


STATE, DATA = {'w': jnp.eye(4)}, {'x': 2 * jnp.eye(4)}


def shapes(tree):
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), tree)


def test_a_program_for_shapes_takes_the_arrays():
    lines = []
    made = StepProgram(
        parallel.DataParallel(run),
        shapes(STATE),
        shapes(DATA),
        updates_per_call=2,
        say=lines.append,
    )
    state, data = parallel.replicate(STATE), parallel.replicate(DATA)
    assert made.fits(state, data)
    compiled = made.result()
    state, metrics = compiled(state, data)
    np.testing.assert_array_equal(state['w'], 2 * np.eye(4))
    assert float(parallel.first_replica(metrics)['sum']) == 4
    state, _ = compiled(state, data)
    np.testing.assert_array_equal(state['w'], 4 * np.eye(4))
    assert re.fullmatch(
        r"compiled the training step in [\d.]+ s(; 0.00 GFLOP an update by XLA's count)?"
        '; memory of a device: state and images 0 MB, step 0 MB',
        lines[0],
    )
    if jax.default_backend() == 'cpu':
        assert lines[1].startswith('compiler options: xla_cpu_')


def test_a_silence_is_announced(monkeypatch):
    monkeypatch.setattr(program, '_SILENCE_S', 0.0)
    lines = []
    StepProgram(parallel.DataParallel(run), STATE, DATA, say=lines.append).result()
    assert [line.partition(' the')[0] for line in lines[:2]] == ['compiling', 'compiled']


def test_operations_are_those_of_one_update():
    def twice(state, data):
        return {'w': state['w'] @ data['x'] @ data['x']}, {}

    lines = []
    matrix = jax.ShapeDtypeStruct((512, 512), jnp.float32)
    step = parallel.DataParallel(twice)
    StepProgram(step, {'w': matrix}, {'x': matrix}, updates_per_call=2, say=lines.append).result()
    if jax.default_backend() == 'cpu':  # written out: both products are counted
        count = float(re.search(r'([\d.]+) GFLOP an update', lines[0])[1])
        assert count == pytest.approx(2 * 512**3 / 1e9, abs=0.02)


@pytest.mark.parametrize(
    'other', [{'x': jnp.ones((4, 5))}, {'x': jnp.ones((4, 4), int)}, {'y': jnp.ones((4, 4))}]
)
def test_other_arguments_do_not_fit(other):
    made = StepProgram(parallel.DataParallel(run), STATE, DATA, say=lambda line: None)
    assert made.fits(STATE, DATA)
    assert not made.fits(STATE, other)
    assert not made.fits(STATE, DATA, (jnp.zeros(3),))
    made.result()


def test_an_error_comes_with_the_result():
    def wrong(state, data):
        raise ValueError('no such step')

    made = StepProgram(parallel.DataParallel(wrong), STATE, DATA, say=lambda line: None)
    with pytest.raises(ValueError, match='no such step'):
        made.result()


def test_a_cancelled_program_says_nothing():
    lines, began = [], threading.Event()

    def slow(state, data):
        began.wait()
        return run(state, data)

    made = StepProgram(parallel.DataParallel(slow), STATE, DATA, say=lines.append)
    made.cancel()
    began.set()
    with pytest.raises(concurrent.futures.CancelledError):
        made.result()
    assert lines == []


@pytest.mark.parametrize('unknown', [None, [], {}])
def test_costs_that_xla_does_not_know_are_left_out(monkeypatch, unknown):
    monkeypatch.setattr('jax.stages.Compiled.cost_analysis', lambda compiled: unknown)
    monkeypatch.setattr('jax.stages.Compiled.memory_analysis', lambda compiled: None)
    lines = []
    made = StepProgram(parallel.DataParallel(run), STATE, DATA, say=lines.append)
    assert made.result() is not None
    assert re.fullmatch(r'compiled the training step in [\d.]+ s', lines[0])


def test_a_start_traces_init_once(tmp_path, monkeypatch):
    """Of a network it takes as long as reading its program from the cache."""
    traced, init = [], Gan.init
    monkeypatch.setattr(Gan, 'init', lambda self, rng: traced.append(rng) or init(self, rng))
    gan = make_gan()
    images = jax.ShapeDtypeStruct((100, *IMAGE), jnp.uint8)
    ahead = compile_ahead(gan, OPTIONS, images, tmp_path, lambda line: None)
    ahead.cancel()
    jax.jit(gan.init).trace(seed_key(0, 'init'))
    assert len(traced) == 1


def test_memory_of_a_sharded_table_is_that_of_one_device():
    step = parallel.DataParallel(run, {'w': None, 'table': 0})
    state = {'w': jnp.zeros(3), 'table': jnp.zeros((8, 100, 4))}
    assert cost.bytes_of(step.per_device(state)) == 4 * (3 + 100 * 4)
