"""The lines that `launch.py` prints. Imports no JAX."""

import sys


def say(line: str) -> None:
    """Prints a line on stdout at once, also into a file or a pipe."""
    print(line, flush=True)


def complain(line: str) -> None:
    """Prints a line on stderr, with the name of the program before it."""
    print(f'launch.py: {line}', file=sys.stderr, flush=True)
