"""Chips to compile for: their names, what they answer for, and what is missing."""

import importlib.util

import jax
import jax.numpy as jnp
import pytest

from snjax import parallel
from snjax.parallel import inspection, targets

# Of devices, only their number is asked here.
GPU = targets.Target('h200x16', targets.CHIPS['h200'], tuple(jax.devices() * 16))


@pytest.mark.parametrize(
    'name', ['', 'v5e', 'v5e:8', 'h200:8', 'h200x0', 'h200x12', 'gpu', 'cpux4', 'H200', 'v9e:2x2']
)
def test_a_name_that_is_not_known_is_one_line(name):
    with pytest.raises(ValueError, match=r'accepted are cpu .* v5e:2x4 .* h200x8') as error:
        targets.find(name)
    assert repr(name) in str(error.value) and '\n' not in str(error.value)


@pytest.mark.skipif(bool(importlib.util.find_spec('libtpu')), reason='libtpu is installed')
def test_a_compiler_that_is_missing_is_named():
    with pytest.raises(ValueError, match=r"v5e:2x4 needs Google's compiler: pip install libtpu"):
        targets.find('v5e:2x4')


def test_inside_everything_is_asked_for_the_target():
    before = parallel.backend(), parallel.device_count(), parallel.device_memory()
    is_cached = jax.config.jax_enable_compilation_cache
    with pytest.raises(KeyError), targets.compiling_for(GPU):
        assert (parallel.backend(), parallel.device_count()) == ('gpu', 16)
        assert parallel.device_memory() == 141 * 10**9
        assert parallel.default_steps_per_call() == 50
        with pytest.raises(ValueError, match='batch_size 24 does not divide over 16 devices'):
            parallel.check_batch_size(batch_size=24)
        assert not jax.config.jax_enable_compilation_cache
        raise KeyError
    assert before == (parallel.backend(), parallel.device_count(), parallel.device_memory())
    assert jax.config.jax_enable_compilation_cache == is_cached


def test_this_machine_is_a_target_that_changes_nothing():
    target = targets.find('cpu')
    with targets.compiling_for(target):
        assert targets.current() is None and parallel.backend() == jax.default_backend()


def compiled_for(name):
    """A step with a product in a loop and one average over the devices."""
    target = targets.find(name)

    def step(state, data):
        body = lambda s, _: (jnp.tanh(s @ data), None)  # noqa: E731
        state, _ = parallel.scan_or_unroll(body, state, jnp.zeros(6), 6)
        return parallel.mean(state), {}

    shape = jax.ShapeDtypeStruct((512, 512), jnp.float32)
    with targets.compiling_for(target):
        program = parallel.DataParallel(step)
        return target, parallel.compile(program.lower(shape, shape))


@pytest.mark.slow
@pytest.mark.skipif(not importlib.util.find_spec('libtpu'), reason='needs libtpu')
@pytest.mark.parametrize('name', ['v5e:2x4', 'v5e:16x16', 'v6e:2x4', 'v5p:2x2x2'])
def test_a_step_is_compiled_for_tpus(name):
    target, compiled = compiled_for(name)
    found = inspection.inspect(compiled.as_text(), target.chip)
    assert found.cycles > 0 and found.convolutions == 6  # the TPU's compiler names products so
    assert found.collectives['all-reduce']['bytes'] == 512 * 512 * 4


@pytest.mark.slow
@pytest.mark.skipif(not importlib.util.find_spec('jax_cuda13_plugin'), reason='needs jax[cuda13]')
@pytest.mark.parametrize('name', ['h200', 'h200x8', 'h200x32', 'a100x8', 'rtx4090'])
def test_a_step_is_compiled_for_gpus(name):
    target, compiled = compiled_for(name)
    found = inspection.inspect(compiled.as_text(), target.chip)
    # Six products of 2 x 512^3 operations in TF32 take longer than their starts alone.
    assert found.kernels >= 12 and found.seconds > 12 * inspection.LAUNCH_S
    if name not in ('h200', 'rtx4090'):
        assert found.collectives['all-reduce']['asynchronous'] == 1
