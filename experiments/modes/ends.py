"""What ends `launch.py` from outside: signals, a closed terminal or pipe, a disk without room.

* Ctrl-C, SIGTERM and SIGHUP end the process at once, with one line. While a training has something
  to save, `snjax.parallel.StopSignal` takes the signals instead, and the run saves first.
* Output that cannot be written ends nothing. Once a write to stdout or stderr has failed, because a
  reader has left (`| head`), the terminal is gone or the disk is full, what would follow there is
  dropped, and the other stream gets a line that says so.

Imports no JAX.
"""

import atexit
import contextlib
import os
import signal
import sys
from collections.abc import Callable, Iterator
from typing import Any, NoReturn, TextIO

from experiments.modes.lines import complain
from snjax.host.exit_codes import BAD_INPUT, INTERRUPTED, RESUMABLE

STOPS = {signal.SIGINT: INTERRUPTED, signal.SIGTERM: RESUMABLE, signal.SIGHUP: RESUMABLE}

# Returns a clause on what the run has saved; `launch.py` sets it when it knows the workdir.
describe: Callable[[], str] = str


def prepare() -> None:
    """Takes over signals, stdout and stderr of this process. Ignored signals stay ignored."""
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:  # closed by the caller: the next file would be opened under this number
            os.open(os.devnull, os.O_RDWR)
    for name in ('stdout', 'stderr'):
        stream = getattr(sys, name)
        setattr(sys, name, Outlet(stream or open(os.devnull, 'w'), name))
    for number in STOPS:
        if signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler):
            signal.signal(number, end_at_once)
            # Later Python takes its handlers away, and the signal would be the exit code.
            atexit.register(signal.signal, number, signal.SIG_IGN)


def end_at_once(number: int, *_: Any) -> NoReturn:
    """Handler of a signal: one line and the exit code; no thread that compiles is waited for."""
    line = 'interrupted'
    if number != signal.SIGINT:
        with contextlib.suppress(Exception):
            line = '; '.join(
                filter(None, [f'stopped by {signal.Signals(number).name}', describe()])
            )
            line += '; start it again to go on'
    with contextlib.suppress(RuntimeError, OSError):  # Python may be printing just now
        sys.stdout.flush()
    with contextlib.suppress(OSError):
        os.write(2, f'launch.py: {line}\n'.encode(errors='replace'))
    os._exit(STOPS[signal.Signals(number)])


class Outlet:
    """A text stream whose writes do not fail: after the first failure they are dropped.

    Args:
        stream: to write to.
        name: of the stream, for the line that says that it is gone.
    """

    def __init__(self, stream: TextIO, name: str):
        self.stream, self._name = stream, name

    def write(self, text: str) -> int:
        try:
            return self.stream.write(text)
        except UnicodeEncodeError:  # the locale has no such letter
            encoding = self.stream.encoding or 'ascii'
            return self.stream.write(text.encode(encoding, 'backslashreplace').decode(encoding))
        except OSError as error:
            self._drop(error)
            return len(text)

    def writelines(self, lines: Any) -> None:
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        try:
            self.stream.flush()
        except OSError as error:
            self._drop(error)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)

    def _drop(self, error: OSError) -> None:
        """Lets everything that follows, also from C++ and from buffers, go nowhere."""
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self.stream.fileno())
        os.close(nowhere)
        if self._name == 'stdout':
            complain(
                f'{self._name} cannot be written any more ({error.strerror}): going on without it'
            )


@contextlib.contextmanager
def reader_may_leave() -> Iterator[None]:
    """For a mode that only prints: a reader that leaves early ends it well, as in `| head`.

    Any other failure of stdout, such as a full disk, is one line and exit code 2.
    """
    outlet, failed = sys.stdout, None
    sys.stdout = getattr(outlet, 'stream', outlet)
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        failed = 0
    except OSError as error:
        if error.filename is not None:  # of another file
            raise
        complain(f'stdout cannot be written ({error.strerror})')
        failed = BAD_INPUT
    finally:
        sys.stdout = outlet
    if failed is not None:
        # Python flushes stdout again on exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    if failed:
        sys.exit(failed)
