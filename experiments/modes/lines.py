"""The lines that `launch.py` prints. Imports no JAX."""

import logging as standard_logging
import sys

from absl import logging

from snjax.host.paths import printable


class _Printable(standard_logging.Filter):
    """Escapes odd characters of messages: names of files and classes are other people's."""

    def filter(self, record: standard_logging.LogRecord) -> bool:
        record.msg, record.args = printable(record.getMessage()), None
        return True


def escape_logs() -> None:
    """Has warnings and other log lines of the process printed as `say` prints."""
    logging.get_absl_handler().addFilter(_Printable())


def say(line: str) -> None:
    """Prints a line on stdout at once, also into a file or a pipe; odd characters are escaped."""
    print(printable(line), flush=True)


def complain(line: str) -> None:
    """Prints a line on stderr, with the name of the program before it."""
    print(f'launch.py: {printable(line)}', file=sys.stderr, flush=True)
