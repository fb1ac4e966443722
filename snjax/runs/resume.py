"""Rules of a workdir: one configuration, one live run.

A run is resumed by starting it again in the same workdir. That is only right if it is the same run:
`check_config` compares the configuration with the one that the workdir was made with, and
`WorkdirLock` keeps a second process from writing beside a live one.
"""

import fcntl
import fnmatch
import json
import os
import tempfile
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from absl import logging

CONFIG_NAME = 'config.json'
LOCK_NAME = '.lock'
JOURNAL_NAME = 'journal.jsonl'  # of a sweep, whose runs have folders below
DIVERGED_NAME = 'diverged.txt'  # why a run stopped for good; gone when it is started again

_ABSENT = '(absent)'


def compare_config(
    workdir: str | os.PathLike, config: Mapping[str, Any], *, harmless: Collection[str] = ()
) -> list[tuple[str, str, str]]:
    """Makes sure that `config` may go on with what is in `workdir`, and writes nothing.

    With a `config.json` there, only keys that match `harmless` may differ.

    Args:
        workdir: folder of the run, which need not exist.
        config: nested dict of JSON values; tuples count as lists.
        harmless: patterns of full key names, e.g. 'num_steps', 'log.*'.

    Returns:
        The harmless differences: full key, value there, value now.

    Raises:
        ValueError: if other keys differ, `config.json` is damaged, `config` cannot be JSON, or a sweep lives here.
    """
    workdir = Path(workdir)
    path = workdir / CONFIG_NAME
    text = _as_json(config)
    if not path.exists():
        if (workdir / JOURNAL_NAME).exists():
            raise ValueError(
                f'{workdir} holds a sweep: add --mode=sweep to go on with it, or use another --workdir'
            )
        return []
    differences = _differences(read_config(path), json.loads(text))
    refused = [
        f'{key}: {old} (workdir) != {new} (now)'
        for key, old, new in differences
        if not any(fnmatch.fnmatchcase(key, pattern) for pattern in harmless)
    ]
    if refused:
        raise ValueError(
            f'{workdir} was made with another config: {", ".join(refused)}; use another --workdir '
            'or restore these values'
        )
    return differences


def check_config(
    workdir: str | os.PathLike, config: Mapping[str, Any], *, harmless: Collection[str] = ()
) -> None:
    """`compare_config`, and then records `config` in `workdir`.

    Without a `config.json` it is written. With one, the file gets the new values of harmless keys and the log says
    which changed. Where it is refused nothing is written. The file is replaced in one step, so every process of a run
    may call this at the same time.
    """
    workdir = Path(workdir)
    path = workdir / CONFIG_NAME
    differences = compare_config(workdir, config, harmless=harmless)
    for key, old, new in differences:
        logging.info('config %s: %s before, %s from now on', key, old, new)
    if differences or not path.exists():
        workdir.mkdir(parents=True, exist_ok=True)
        _replace(path, _as_json(config))


def _as_json(config):
    try:
        return json.dumps(config, indent=2, sort_keys=True) + '\n'
    except (TypeError, ValueError) as error:
        raise ValueError(f'the config cannot be written as JSON: {error}') from error


class WorkdirLock:
    """Keeps a workdir for one live run; a context manager.

    The kernel frees the lock when the process ends, however it ends, so nothing is left to clean
    after a `kill -9`. Of a run over several processes only process 0 locks: the others pass. A folder
    that was made here and in which nothing has come to be, as of a start that was refused, goes again.

    Args:
        workdir: folder of the run, made when needed.
        process_index: index of this process in the run.

    Raises:
        ValueError: on entering, if another process holds the lock.
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
            try:
                # Opened for appending: the holder's number must survive that others look in.
                return self._path.open('a+')
            except FileNotFoundError:
                if self._workdir.is_dir():
                    raise  # else its maker has just removed it again

    def _lock(self, file) -> bool:
        """Whether `file` is locked and still what lies at its path: the maker of a folder may have removed both."""
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            holder = file.read().strip() or 'another process'
            file.close()
            raise ValueError(
                f'{self._workdir} is in use by {holder}; wait for its end, stop it, or use another '
                '--workdir'
            ) from None
        except OSError as error:
            # Some network file systems have no locks; a run is worth more than the guard.
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
        """Removes a folder that holds the lock alone. Elsewhere the lock's file stays when it is free."""
        try:
            if os.listdir(self._workdir) == [LOCK_NAME]:
                self._path.unlink()
                self._workdir.rmdir()
        except OSError:  # another process has just put something in, or removed it
            pass


def lock_holder(workdir: str | os.PathLike) -> str | None:
    """Who holds the `WorkdirLock` of a folder at this moment, as 'process 12 on host'; None if nobody does."""
    try:
        file = (Path(workdir) / LOCK_NAME).open('r+')
    except FileNotFoundError:
        return None
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return file.read().strip() or 'another process'
        except OSError:  # a file system without locks
            return None
    return None


def read_config(path: Path) -> dict[str, Any]:
    """The config that a run left; raises a ValueError that names a damaged file."""
    try:
        config = json.loads(path.read_text())
    except ValueError as error:
        raise ValueError(
            f'{path} is damaged ({error}); restore it, or use another --workdir'
        ) from error
    if not isinstance(config, dict):
        raise ValueError(
            f'{path} is damaged (not a JSON object); restore it, or use another --workdir'
        )
    return config


def _replace(path: Path, text: str) -> None:
    """Writes a file so that it is at every moment either the old one or the whole new one."""
    with tempfile.NamedTemporaryFile(
        'w', dir=path.parent, prefix=f'.{path.name}.', delete=False
    ) as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.chmod(file.name, 0o644)  # temporary files are private; the configuration is not
    os.replace(file.name, path)


def _differences(old: dict[str, Any], new: dict[str, Any]) -> list[tuple[str, str, str]]:
    """Returns (full key, old value, new value) as text, for every key whose values differ."""
    old, new = flatten(old), flatten(new)
    found = []
    for key in sorted(old.keys() | new.keys()):
        before = json.dumps(old[key]) if key in old else _ABSENT
        after = json.dumps(new[key]) if key in new else _ABSENT
        if before != after and not _is_same_number(old.get(key), new.get(key)):
            found.append((key, before, after))
    return found


def _is_same_number(a: Any, b: Any) -> bool:
    """1 and 1.0 mean the same in a config; 1 and true do not."""
    numbers = all(isinstance(x, int | float) and not isinstance(x, bool) for x in (a, b))
    return numbers and a == b


def flatten(config: Mapping[str, Any], prefix: str = '') -> dict[str, Any]:
    """A nested config by full key: `{'optimizer.lr': 2e-4, ...}`. Empty groups stay as they are."""
    flat = {}
    for key, value in config.items():
        if isinstance(value, Mapping) and value:
            flat |= flatten(value, f'{prefix}{key}.')
        else:
            flat[f'{prefix}{key}'] = value
    return flat
