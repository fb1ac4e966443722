"""Tests of snjax.training.profiling, with real traces."""

import gzip
import json

import jax
import jax.numpy as jnp

from snjax.training.profiling import Profile


def traced(tmp_path, num_calls, total, say=lambda line: None):
    """Number of times that `Profile` waited for the devices in `total` calls of a program."""
    program, state, waits = jax.jit(lambda x: x @ x), jnp.eye(8), []

    def wait():
        waits.append(jax.block_until_ready(state))

    with Profile(tmp_path, num_calls, wait, say) as profile:
        for _ in range(total):
            profile.before_call()
            state = program(state)
    return len(waits)


def test_the_calls_after_the_first_two_are_traced(tmp_path):
    lines = []
    assert traced(tmp_path, 3, 8, lines.append) == 2
    [run] = (tmp_path / 'plugins' / 'profile').iterdir()
    assert [path.name for path in run.iterdir() if path.name.endswith('.xplane.pb')]
    with gzip.open(run / 'perfetto_trace.json.gz', 'rt') as file:
        names = [event.get('name', '') for event in json.load(file)['traceEvents']]
    spans = sum(name.startswith('PjitFunction') for name in names)
    assert spans and spans % 3 == 0  # as many for each call
    assert [str(run) in line for line in lines] == [True]


def test_a_run_that_ends_earlier_leaves_its_trace(tmp_path):
    assert traced(tmp_path, 10, 4) == 2
    assert list((tmp_path / 'plugins' / 'profile').iterdir())


def test_a_run_too_short_for_a_trace_says_so(tmp_path):
    lines = []
    assert traced(tmp_path, 3, 2, lines.append) == 0
    assert lines == ['no trace: the run ended before call 3']


def test_none_leaves_nothing(tmp_path):
    assert traced(tmp_path, 0, 5) == 0
    assert not list(tmp_path.iterdir())
