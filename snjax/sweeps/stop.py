"""Counts Ctrl-C, SIGTERM and SIGHUP instead of ending the process."""

import contextlib
import signal
from collections.abc import Iterator


class StopRequests:
    """Number of SIGINT, SIGTERM and SIGHUP signals received inside `counting`."""

    def __init__(self):
        self.count = 0

    @contextlib.contextmanager
    def counting(self) -> Iterator[None]:
        """Counts the signals, except ignored ones, until the previous handlers are restored."""

        def handle(*_):
            self.count += 1

        numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        heard = [n for n in numbers if signal.getsignal(n) is not signal.SIG_IGN]
        previous = {n: signal.signal(n, handle) for n in heard}
        try:
            yield
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)
