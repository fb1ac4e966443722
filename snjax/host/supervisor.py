"""Parent process that explains why training died when JAX aborts it from C++.

When the coordinator (process 0) is gone, JAX aborts the other processes from C++, where no Python
runs any more. So a process of a distributed run forks: the child trains; the parent waits, passes
signals on and exits as the child did. If the child was aborted because process 0 is gone, the
parent prints one line that says so and exits with `RESUMABLE`.

Imports no JAX: a process must fork before JAX starts threads.
"""

import ctypes
import json
import os
import pathlib
import signal
import socket
import sys
from collections.abc import Callable
from typing import Any, NoReturn

from snjax.host.exit_codes import RESUMABLE

_PR_SET_PDEATHSIG = 1
_HANDED_ON = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
_ABORTED = (signal.SIGABRT, signal.SIGSEGV, signal.SIGBUS)
_SI_KERNEL = 128  # si_code of a signal from the terminal, which reaches the child as well
_PROBE_S = 5.0

_to_parent: int | None = None  # in the child: the pipe to its parent


def supervise(newest: Callable[[], str]) -> None:
    """Forks. Only the child returns; the parent waits for it and exits as it did.

    Args:
        newest: returns a clause on the run's newest checkpoint, for the message after an abort.
    """
    global _to_parent
    from_child, to_parent = os.pipe()
    parent = os.getpid()
    signal.pthread_sigmask(signal.SIG_BLOCK, {*_HANDED_ON, signal.SIGCHLD})
    child = os.fork()
    if child:
        os.close(to_parent)
        _watch(child, from_child, newest)
    os.close(from_child)
    _to_parent = to_parent
    if sys.platform == 'linux':  # the child dies with the parent, also if that is killed
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {*_HANDED_ON, signal.SIGCHLD})
    signal.signal(signal.SIGABRT, signal.SIG_DFL)  # absl would print the stacks of all threads
    if os.getppid() != parent:  # the parent was killed before the call above
        os.kill(os.getpid(), signal.SIGKILL)


def explain(what: str, code: int, unless_answers: str = '') -> None:
    """Sends the parent, if there is one, an explanation for an abort of this process from now on.

    Args:
        what: the line to print, without the program's name; '' to print the signal only.
        code: exit code. With `RESUMABLE` the line also names the newest checkpoint.
        unless_answers: host:port; the explanation does not apply if a process answers there.
    """
    if _to_parent is not None:
        line = json.dumps({'what': what, 'code': code, 'unless_answers': unless_answers})
        os.write(_to_parent, f'{line}\n'.encode())


def say(line: str) -> None:
    """Prints a line on stderr, as launch.py prints an error."""
    print(f'{pathlib.Path(sys.argv[0]).name}: {line}', file=sys.stderr, flush=True)


def last_words(what: str, newest: str) -> str:
    """The line of a run that has to be started again.

    Args:
        what: what happened.
        newest: clause on the newest checkpoint; empty to leave it out.
    """
    where = f'{newest}; ' if newest else ''
    return f'{what}: {where}restart all processes to resume'


def _watch(child: int, from_child: int, newest: Callable[[], str]) -> NoReturn:
    """Passes signals on to the child, waits for it and exits as it did."""
    while True:
        heard: Any = signal.sigwaitinfo({*_HANDED_ON, signal.SIGCHLD})
        if heard.si_signo != signal.SIGCHLD:
            if heard.si_code != _SI_KERNEL:
                os.kill(child, heard.si_signo)
            continue
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid == child:
            break
    if os.WIFEXITED(status):
        os._exit(os.WEXITSTATUS(status))
    number = os.WTERMSIG(status)
    if number in _ABORTED:
        _explain(os.read(from_child, 1 << 16).decode(), newest)
    say(
        f'ended by {signal.Signals(number).name}' + ' (out of memory?)' * (number == signal.SIGKILL)
    )
    _die_of(number)


def _explain(received: str, newest: Callable[[], str]) -> None:
    """Prints the last explanation that the child sent, and exits; returns if none applies."""
    last: dict[str, Any] = json.loads(received.splitlines()[-1]) if received else {'what': ''}
    if not last['what'] or (last['unless_answers'] and _answers(last['unless_answers'])):
        return
    what, code = last['what'], last['code']
    say(last_words(what, newest()) if code == RESUMABLE else what)
    os._exit(code)


def _answers(address: str) -> bool:
    """Whether a process still listens at host:port."""
    host, _, port = address.rpartition(':')
    try:
        socket.create_connection((host.strip('[]'), int(port)), timeout=_PROBE_S).close()
    except OSError:
        return False
    return True


def _die_of(number: int) -> NoReturn:
    """Ends by the signal that ended the child, so that the caller of the run sees it."""
    if number != signal.SIGKILL:
        signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {number})
    os.kill(os.getpid(), number)
    os._exit(128 + number)
