"""Advisory locks on open files, which the kernel drops when the process ends, also by `kill -9`.

This is `flock` and not the package `filelock`. A holder writes its name through the locked
descriptor, which that package keeps private. On a file system without locks that package makes a
file that outlives a `kill -9`; here the caller learns of it and decides.
"""

import errno
from typing import IO

try:
    import fcntl
except ImportError:  # not a POSIX system
    fcntl = None


def lock(file: IO | int, *, wait: bool) -> None:
    """Locks an open file for this process alone, until the file is closed.

    Args:
        file: to lock, in any mode, or a descriptor.
        wait: until another process has freed the lock.

    Raises:
        BlockingIOError: another process holds the lock; only without `wait`.
        OSError: the system or the file system has no locks.
    """
    if fcntl is None:
        raise OSError(errno.ENOTSUP, 'this system has no flock')
    fcntl.flock(file, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
