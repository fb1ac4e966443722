"""Cores and memory that this process may use."""

import os
import pathlib

_CGROUP_LIMIT = pathlib.Path('/sys/fs/cgroup/memory.max')


def num_cores() -> int:
    """Number of CPU cores that this process may run on."""
    if hasattr(os, 'sched_getaffinity'):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def memory(cgroup_limit: pathlib.Path = _CGROUP_LIMIT) -> int:
    """Bytes of memory: the container's limit if there is one, else the machine's."""
    there = os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES')
    try:
        limit = cgroup_limit.read_text().strip()
    except OSError:
        return there
    return min(there, int(limit)) if limit.isdecimal() else there
