"""Tests of snjax.host: cores and memory that a process may use."""

import os

from snjax import host


def test_cores_are_those_of_the_process():
    allowed = os.sched_getaffinity(0)
    assert host.num_cores() == len(allowed)
    try:
        os.sched_setaffinity(0, {min(allowed)})
        assert host.num_cores() == 1
    finally:
        os.sched_setaffinity(0, allowed)


def test_memory_is_the_containers_where_that_is_less(tmp_path):
    limit = tmp_path / 'memory.max'
    whole = host.memory(limit)  # there is no such file
    assert whole > 2**28
    for text, expected in (('max\n', whole), ('1000000\n', 1_000_000), (f'{2 * whole}\n', whole)):
        limit.write_text(text)
        assert host.memory(limit) == expected
