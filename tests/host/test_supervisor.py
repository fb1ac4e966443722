"""The parent process of a run, without JAX: exit codes, signals, and why a run was aborted."""

import signal
import socket
import subprocess
import sys
import time

import pytest

from helpers.launching import ROOT

AGAIN = 'restart all processes to resume'


def supervised(tmp_path, code, stop=None):
    """Runs `code` in a child; returns the parent's exit code and stderr.

    `stop` is called with the parent's process once the child runs.
    """
    script = f"""
import os, pathlib, signal, sys, time
sys.path.insert(0, {str(ROOT)!r})
from snjax.host import supervisor
from snjax.runs.workdir import describe_newest
supervisor.supervise(lambda: describe_newest({str(tmp_path)!r}))
print(os.getpid(), flush=True)
{code}
"""
    process = subprocess.Popen(
        [sys.executable, '-W', 'error', '-c', script],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    child = int(process.stdout.readline())
    assert child != process.pid
    if stop:
        stop(process)
    _, err = process.communicate(timeout=30)
    deadline = time.monotonic() + 10
    while is_alive(child):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return process.returncode, err


def is_alive(pid):
    try:
        with open(f'/proc/{pid}/stat') as file:
            return file.read().rpartition(')')[2].split()[0] != 'Z'
    except FileNotFoundError:
        return False


@pytest.mark.parametrize('code', [0, 2, 3, 75])
def test_the_parent_ends_as_the_run_does(tmp_path, code):
    assert supervised(tmp_path, f'sys.exit({code})') == (code, '')


def test_the_parent_passes_on_a_request_to_save(tmp_path):
    code = """
signal.signal(signal.SIGTERM, lambda *_: sys.exit(75))
print('ready', flush=True)
time.sleep(30)
"""

    def stop(process):
        process.stdout.readline()
        process.terminate()

    assert supervised(tmp_path, code, stop) == (75, '')


def test_no_run_outlives_its_parent(tmp_path):
    assert supervised(tmp_path, 'time.sleep(60)', subprocess.Popen.kill) == (-signal.SIGKILL, '')


def test_an_unexplained_end_is_reported_as_its_signal(tmp_path):
    code, err = supervised(tmp_path, 'os.kill(os.getpid(), signal.SIGKILL)')
    assert (code, err) == (-signal.SIGKILL, '-c: ended by SIGKILL (out of memory?)\n')
    code, err = supervised(tmp_path, 'os.abort()')
    assert (code, err) == (-signal.SIGABRT, '-c: ended by SIGABRT\n')


def test_an_abort_is_explained_if_nobody_answers(tmp_path):
    for name in ('20', '40', '60.orbax-checkpoint-tmp', '80.rejected'):
        (tmp_path / 'checkpoints' / name).mkdir(parents=True)
    with socket.create_server(('localhost', 0)) as server:
        address = f'localhost:{server.getsockname()[1]}'
        abort = f"""
supervisor.explain('an older explanation', 2)
supervisor.explain('process 0 of 2 is gone', 75, unless_answers={address!r})
os.abort()
"""
        assert supervised(tmp_path, abort) == (-signal.SIGABRT, '-c: ended by SIGABRT\n')
    line = (
        f'-c: process 0 of 2 is gone: the newest checkpoint is of step 40 in {tmp_path}; {AGAIN}\n'
    )
    assert supervised(tmp_path, abort) == (75, line)
    late = "supervisor.explain('not all processes met', 2); os.abort()"
    assert supervised(tmp_path, late) == (2, '-c: not all processes met\n')
