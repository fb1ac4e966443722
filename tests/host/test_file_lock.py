import subprocess
import sys

import pytest

from snjax.host import file_lock

HOLDER = """
import sys
from snjax.host import file_lock
file = open(sys.argv[1], 'a')
file_lock.lock(file, wait=False)
print('locked', flush=True)
sys.stdin.read()
"""


@pytest.mark.skipif(sys.platform == 'win32', reason='flock is of POSIX systems')
def test_a_lock_is_free_again_after_its_holder_was_killed(tmp_path):
    path = tmp_path / 'lock'
    holder = subprocess.Popen(
        [sys.executable, '-c', HOLDER, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert holder.stdout.readline() == b'locked\n'
    with open(path, 'a') as file:
        with pytest.raises(BlockingIOError):
            file_lock.lock(file, wait=False)
        holder.kill()
        holder.communicate()
        file_lock.lock(file, wait=True)


def test_a_system_without_locks_is_an_error_of_the_system(tmp_path, monkeypatch):
    monkeypatch.setattr(file_lock, 'fcntl', None)
    with open(tmp_path / 'lock', 'a') as file, pytest.raises(OSError, match='no flock'):
        file_lock.lock(file, wait=False)
