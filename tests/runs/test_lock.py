"""Tests of snjax.runs.lock: one live run in a workdir."""

import os

import pytest

from helpers.checkpointing import start
from snjax.runs.lock import WorkdirLock, lock_holder

HOLD = """
with lock.WorkdirLock(sys.argv[1]):
    print('locked', flush=True)
    time.sleep(60)
"""


def test_a_start_that_wrote_nothing_leaves_no_folder(tmp_path):
    made = tmp_path / 'run'
    with pytest.raises(ValueError, match='refused'), WorkdirLock(made):
        assert lock_holder(made)
        raise ValueError('refused')
    assert not made.exists()
    # What was there before stays, and so does what has come to be.
    with WorkdirLock(tmp_path):
        pass
    with WorkdirLock(made):
        (made / 'config.json').touch()
    assert sorted(p.name for p in made.iterdir()) == ['.lock', 'config.json']
    assert (tmp_path / '.lock').exists()


def test_lock_is_of_the_file_that_is_there_when_its_maker_removes_it(tmp_path):
    made = tmp_path / 'run'
    first, second = WorkdirLock(made), WorkdirLock(made)
    first.__enter__()
    opened = second._open()  # as if it were faster than the first's end
    first.__exit__()
    assert not second._lock(opened)
    opened.close()
    with second:
        assert lock_holder(made)


def test_lock_is_exclusive_and_freed_by_a_kill(tmp_path):
    process = start(HOLD, tmp_path)
    try:
        assert process.stdout.readline() == 'locked\n'
        for _ in range(2):  # looking in must not spoil the message
            with pytest.raises(ValueError, match=rf'in use by process {process.pid} on ') as info:
                WorkdirLock(tmp_path).__enter__()
        assert '\n' not in str(info.value)
        with WorkdirLock(tmp_path, process_index=1):
            pass
    finally:
        process.kill()
        process.communicate()
    for _ in range(2):
        with WorkdirLock(tmp_path):
            with pytest.raises(ValueError, match=f'process {os.getpid()} on'):
                WorkdirLock(tmp_path).__enter__()


def test_a_lock_knows_when_its_folder_is_gone(tmp_path):
    with WorkdirLock(tmp_path / 'run') as lock:
        lock.check()
        (tmp_path / 'run').rename(tmp_path / 'moved')
        with pytest.raises(FileNotFoundError, match='moved or removed'):
            lock.check()
        (tmp_path / 'moved').rename(tmp_path / 'run')
        lock.check()
