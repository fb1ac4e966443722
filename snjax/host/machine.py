"""What this process may use of the machine it runs on."""

import os
import pathlib

_CGROUP_LIMIT = pathlib.Path('/sys/fs/cgroup/memory.max')


def num_cores() -> int:
    """CPU cores, which a container or a job scheduler can restrict."""
    if hasattr(os, 'sched_getaffinity'):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def memory(cgroup_limit: pathlib.Path = _CGROUP_LIMIT) -> int:
    """Bytes of memory: the machine's, or the container's where it says so."""
    there = os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES')
    try:
        limit = cgroup_limit.read_text().strip()
    except OSError:
        return there
    return min(there, int(limit)) if limit.isdecimal() else there
