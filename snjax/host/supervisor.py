"""Stands by a run of several processes from outside, and has the last word where the run's own process has none.

JAX aborts a process from within C++ when the coordinator is gone, where no Python can speak any more. So the process
that was started forks: the run goes on in the child, and the parent waits, hands on signals, and ends as the child did.
Where the child was aborted because process 0 is gone, it says so in one line, and exits with `GOES_ON`.

It imports no JAX: a process has to fork before that has threads.
"""

import ctypes
import json
import os
import pathlib
import signal
import socket
import sys
from typing import Any, NoReturn

from snjax.sweeps.progress import newest_checkpoint

GOES_ON = 75  # the exit code of what is to be started again
_PR_SET_PDEATHSIG = 1
_HANDED_ON = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
_ABORTED = (signal.SIGABRT, signal.SIGSEGV, signal.SIGBUS)
_SI_KERNEL = 128  # a signal from the terminal, which the child has got as well
_PROBE_S = 5.0

_to_guard: int | None = None  # in the child: the pipe to its guard


def supervise(workdir: pathlib.Path) -> None:
    """Forks; only the child returns. `workdir` is for what is said at a bad end."""
    global _to_guard
    from_child, to_guard = os.pipe()
    guard = os.getpid()
    signal.pthread_sigmask(signal.SIG_BLOCK, {*_HANDED_ON, signal.SIGCHLD})
    child = os.fork()
    if child:
        os.close(to_guard)
        _watch(child, from_child, workdir)
    os.close(from_child)
    _to_guard = to_guard
    if sys.platform == 'linux':  # no run without its guard, whoever kills that
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {*_HANDED_ON, signal.SIGCHLD})
    signal.signal(signal.SIGABRT, signal.SIG_DFL)  # absl would print the stacks of all threads
    if os.getppid() != guard:  # it was killed before the kernel knew what to do then
        os.kill(os.getpid(), signal.SIGKILL)


def explain(what: str, code: int, unless_answers: str = '') -> None:
    """Tells the guard, if there is one, what it means if this process is aborted from now on.

    Args:
        what: the line to say, without the program's name; '' for nothing more than the signal.
        code: to exit with. With `GOES_ON` the line ends in where the run can go on.
        unless_answers: host:port; if somebody answers there, it means something else.
    """
    if _to_guard is not None:
        line = json.dumps({'what': what, 'code': code, 'unless_answers': unless_answers})
        os.write(_to_guard, f'{line}\n'.encode())


def say(line: str) -> None:
    """Prints a line on stderr, as launch.py prints an error."""
    print(f'{pathlib.Path(sys.argv[0]).name}: {line}', file=sys.stderr, flush=True)


def last_words(what: str, workdir: pathlib.Path | None) -> str:
    """The line of a run that has to be started again."""
    return f'{what}: {newest(workdir)}start all processes again to go on'


def newest(workdir: pathlib.Path | None) -> str:
    """'the newest checkpoint is of step 40 in runs/x; ', or that there is none."""
    if workdir is None:
        return ''
    step = newest_checkpoint(workdir)
    if not step:
        return f'there is no checkpoint yet in {workdir}; '
    return f'the newest checkpoint is of step {step} in {workdir}; '


def _watch(child: int, from_child: int, workdir: pathlib.Path) -> NoReturn:
    """Waits for the child, and ends as it does."""
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
        _explain(os.read(from_child, 1 << 16).decode(), workdir)
    say(
        f'ended by {signal.Signals(number).name}' + ' (out of memory?)' * (number == signal.SIGKILL)
    )
    _die_of(number)


def _explain(told: str, workdir: pathlib.Path) -> None:
    """Says what the last of `explain`'s lines says, and exits; returns if that does not explain it."""
    last: dict[str, Any] = json.loads(told.splitlines()[-1]) if told else {'what': ''}
    if not last['what'] or (last['unless_answers'] and _answers(last['unless_answers'])):
        return
    what, code = last['what'], last['code']
    say(last_words(what, workdir) if code == GOES_ON else what)
    os._exit(code)


def _answers(address: str) -> bool:
    """Whether somebody still listens at host:port."""
    host, _, port = address.rpartition(':')
    try:
        socket.create_connection((host.strip('[]'), int(port)), timeout=_PROBE_S).close()
    except OSError:
        return False
    return True


def _die_of(number: int) -> NoReturn:
    """Ends as the child did, so that whoever started the run sees the signal."""
    if number != signal.SIGKILL:
        signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {number})
    os.kill(os.getpid(), number)
    os._exit(128 + number)
