"""Waiting for something that happens in another process or thread."""

import subprocess
import time
from collections.abc import Callable
from typing import Any


def wait_until(
    condition: Callable[[], Any],
    process: subprocess.Popen | None = None,
    *,
    seconds: float = 600,
    interval: float = 0.01,
) -> Any:
    """Calls `condition` again and again until its value is true.

    Args:
        condition: asked every `interval` seconds.
        process: a process whose end also ends the waiting.
        seconds: how long to wait at most.
        interval: pause between two calls, in seconds.

    Returns:
        The last value of `condition`: false if `seconds` passed or `process` ended first.
    """
    deadline = time.monotonic() + seconds
    while True:
        # Asked before the condition, so that a condition which came just before the end is seen.
        is_over = time.monotonic() > deadline or (process and process.poll() is not None)
        value = condition()
        if value or is_over:
            return value
        time.sleep(interval)
