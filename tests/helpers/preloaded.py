"""A process that has imported what `launch.py` imports, and forks for each launch.

The imports are a quarter of what a tiny run costs, and a session of tests starts more than a
hundred. The process forks before JAX has started a thread, and each child then runs the end of
`launch.py` as the interpreter would: its own signals, output files, folder, cores and exit.
"""

import gc
import importlib
import json
import os
import pathlib
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = pathlib.Path(__file__).parents[2]
_MODULES = (
    *(f'experiments.{name}' for name in ('build', 'modes.start', 'modes.going_on')),
    *(f'experiments.modes.{name}' for name in ('train', 'sample', 'invert', 'evaluate')),
    *('sklearn.datasets', 'sklearn.svm', 'sklearn.model_selection', 'sklearn.neural_network'),
)


class Forked:
    """A launch: what tests use of `subprocess.Popen`.

    Attributes:
        pid: of the child.
        returncode: its exit code, -N after signal N; None until `poll` or `wait` saw the end.
    """

    def __init__(self, reports: socket.socket, pid: int):
        self._reports, self.pid = reports, pid
        self.returncode: int | None = None

    def poll(self, seconds: float | None = 0) -> int | None:
        """The exit code, or None if the child runs on after `seconds`; None waits for its end."""
        if self.returncode is None and select.select([self._reports], [], [], seconds)[0]:
            report = self._reports.recv(100)
            if not report:
                raise RuntimeError('the process that forks launches has ended')
            self.returncode = int(report)
            self._reports.close()
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Waits for the end; raises subprocess.TimeoutExpired after `timeout` seconds."""
        code = self.poll(timeout)
        if code is None:
            raise subprocess.TimeoutExpired('launch.py', timeout or 0)
        return code

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


class Preloaded:
    """The process, started when the first launch is asked for.

    Args:
        address: path of the socket at which it listens, at most 100 characters.
        env: its environment, which its children have.
    """

    def __init__(self, address: Path, env: Mapping[str, str]):
        self.address, self.env = address, env
        self._process: subprocess.Popen | None = None
        self._starting = threading.Lock()  # tests start launches in threads

    def start(self, flags: Sequence[str], cwd: Path | None, out: str, err: str) -> Forked:
        """Starts launch.py with `flags`, which writes to the files `out` and `err`."""
        with self._starting:
            if self._process is None:
                command = [sys.executable, __file__, str(self.address)]
                self._process = subprocess.Popen(command, env=self.env, stdin=subprocess.PIPE)
        reports = self._connect(self._process)
        cores = sorted(os.sched_getaffinity(0))
        asked = {'flags': flags, 'cwd': str(cwd or os.getcwd()), 'cores': cores}
        reports.sendall(json.dumps(asked | {'out': out, 'err': err}).encode())
        return Forked(reports, int(reports.recv(100)))

    def _connect(self, process: subprocess.Popen) -> socket.socket:
        end = time.monotonic() + 120
        while True:
            connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            try:
                connection.connect(str(self.address))
                return connection
            except (FileNotFoundError, ConnectionRefusedError):
                connection.close()
                if time.monotonic() > end or process.poll() is not None:
                    raise
                time.sleep(0.05)

    def close(self) -> None:
        """Ends the process; launches that still run go on."""
        if self._process is not None:
            self._process.communicate()


def _serve(path: str) -> dict[str, Any]:
    """Forks until stdin is closed, which ends the process; returns in each child what is asked."""
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    listening.bind(path)
    listening.listen(100)
    ended, wakes = socket.socketpair()
    for end in (ended, wakes):
        end.setblocking(False)
    before = signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(wakes.fileno())
    children: dict[int, socket.socket] = {}
    while True:
        readable, _, _ = select.select([listening, ended, 0], [], [])
        if 0 in readable:
            os._exit(0)
        if ended in readable:
            ended.recv(1000)
            _report(children)
        if listening in readable:
            connection, _ = listening.accept()
            asked = json.loads(connection.recv(1_000_000))
            child = os.fork()
            if not child:
                signal.set_wakeup_fd(-1)
                signal.signal(signal.SIGCHLD, before)
                for end in (listening, ended, wakes, connection, *children.values()):
                    end.close()
                return asked
            children[child] = connection
            connection.send(str(child).encode())


def _report(children: dict[int, socket.socket]) -> None:
    """Tells the ends of all children that have ended since."""
    for pid in list(children):
        found, status = os.waitpid(pid, os.WNOHANG)
        if found:
            connection = children.pop(pid)
            try:
                connection.send(str(os.waitstatus_to_exitcode(status)).encode())
            except BrokenPipeError:  # nobody waits for this launch
                pass
            connection.close()


def _main(path: str) -> None:
    sys.path[0] = str(ROOT)
    sys.argv = ['launch.py']  # launch.py defines its flags as a program would
    launch = importlib.import_module('launch')
    for module in _MODULES:
        importlib.import_module(module)
    gc.freeze()  # children leave the pages of these objects shared
    asked = _serve(path)
    nothing = os.open(os.devnull, os.O_RDONLY)
    outputs = [os.open(asked[name], os.O_WRONLY) for name in ('out', 'err')]
    for number, opened in enumerate((nothing, *outputs)):
        os.dup2(opened, number)
        os.close(opened)
    sys.stdout = open(1, 'w', closefd=False)
    sys.stderr = open(2, 'w', buffering=1, errors='backslashreplace', closefd=False)
    os.chdir(asked['cwd'])
    os.sched_setaffinity(0, asked['cores'])
    sys.argv = ['launch.py', *asked['flags']]
    launch.run()


if __name__ == '__main__':
    _main(sys.argv[1])
