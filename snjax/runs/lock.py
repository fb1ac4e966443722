"""One live run in a workdir: a lock that the kernel frees when the process ends."""

import os
from pathlib import Path

from absl import logging

from snjax.host import file_lock
from snjax.runs.files import check_file
from snjax.runs.workdir import LOCK_NAME, check_is_there


class WorkdirLock:
    """Keeps a workdir for one live run; a context manager.

    The kernel frees the lock when the process ends (`snjax.host.file_lock`), so there is nothing to
    clean up. In a run over several processes only process 0 locks. A folder that the lock made is
    removed on exit if nothing else was written to it, e.g. after a start that was refused.

    Args:
        workdir: folder of the run, made when needed.
        process_index: index of this process in the run.

    Raises:
        ValueError: on entering, if another process holds the lock, or its file is a folder.
    """

    def __init__(self, workdir: str | os.PathLike, *, process_index: int = 0):
        self._workdir = Path(workdir)
        self._is_holder = process_index == 0
        self._path = self._workdir / LOCK_NAME
        self._file = None
        self._is_removable = False

    def __enter__(self) -> 'WorkdirLock':
        if not self._is_holder:
            return self
        file = self._open()
        while not self._lock(file):
            file.close()
            file = self._open()
        file.truncate(0)
        file.write(f'process {os.getpid()} on {os.uname().nodename}\n')
        file.flush()
        self._file = file
        return self

    def check(self) -> None:
        """Raises a FileNotFoundError if the workdir was moved or removed since it was locked."""
        if self._file is not None:
            check_is_there(self._path, self._file.fileno())

    def __exit__(self, *exc_info: object) -> None:
        if self._file is not None:
            if self._is_removable:
                self._remove_empty()
            self._file.close()
            self._file = None

    def _open(self):
        while True:
            self._is_removable = not self._workdir.exists()
            self._workdir.mkdir(parents=True, exist_ok=True)
            check_file(self._path)
            try:
                # Opened for appending, so that a second process does not erase the holder's name.
                return self._path.open('a+')
            except FileNotFoundError:
                if self._workdir.is_dir():
                    raise  # otherwise the process that made the folder has just removed it

    def _lock(self, file) -> bool:
        """Locks `file`. Returns False if the process that made it has removed it from its path."""
        try:
            file_lock.lock(file, wait=False)
        except BlockingIOError:
            file.seek(0)
            holder = file.read().strip() or 'another process'
            file.close()
            raise ValueError(
                f'{self._workdir} is in use by {holder}; wait for its end, stop it, or use another '
                '--workdir'
            ) from None
        except OSError as error:
            # Some network file systems have no locks; a run without the lock is better than none.
            logging.warning(
                '%s cannot be locked (%s): start only one run in it', self._workdir, error
            )
            self._is_removable = False
            return True
        try:
            return os.path.samestat(os.fstat(file.fileno()), self._path.stat())
        except FileNotFoundError:
            return False

    def _remove_empty(self) -> None:
        """Removes a folder that holds only the lock. In other folders the lock file stays."""
        try:
            if os.listdir(self._workdir) == [LOCK_NAME]:
                self._path.unlink()
                self._workdir.rmdir()
        except OSError:  # another process has just written to it or removed it
            pass


def lock_holder(workdir: str | os.PathLike) -> str | None:
    """Holder of a folder's `WorkdirLock`, as 'process 12 on host'; None if the lock is free."""
    try:
        file = (Path(workdir) / LOCK_NAME).open('r+')
    except (FileNotFoundError, IsADirectoryError):
        return None
    with file:
        try:
            file_lock.lock(file, wait=False)
        except BlockingIOError:
            return file.read().strip() or 'another process'
        except OSError:  # a file system without locks
            return None
    return None
