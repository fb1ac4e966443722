"""Ctrl-C and SIGTERM, counted instead of obeyed."""

import contextlib
import signal
from collections.abc import Iterator


class Stop:
    """How often one of them came while it was listening."""

    def __init__(self):
        self.times = 0

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        def note(*_):
            self.times += 1

        previous = {n: signal.signal(n, note) for n in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)
