"""Counts Ctrl-C and SIGTERM instead of ending the process."""

import contextlib
import signal
from collections.abc import Iterator


class StopRequests:
    """Number of SIGINT and SIGTERM signals received inside `counting`."""

    def __init__(self):
        self.count = 0

    @contextlib.contextmanager
    def counting(self) -> Iterator[None]:
        """Counts the signals; the previous handlers are restored at the end."""

        def handle(*_):
            self.count += 1

        previous = {n: signal.signal(n, handle) for n in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)
