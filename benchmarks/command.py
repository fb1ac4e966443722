"""Shared parts of the benchmarks' command lines, and one-line errors for them.

Arguments are checked before anything is measured: a report that cannot be written is an error at
the start, not an hour later.
"""

import argparse
import pathlib
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import NoReturn

from snjax.host.exit_codes import BAD_INPUT


def run(main: Callable[[], None]) -> None:
    """Calls `main()`; bad input ends with one line on stderr and exit code 2."""
    try:
        main()
    except ModuleNotFoundError as error:
        if error.name != 'torch':
            raise
        _end('PyTorch is not there, and is needed for this: pip install torch')
    except (ValueError, OSError) as error:
        _end(str(error))


def _end(message: str) -> NoReturn:
    module = sys.modules['__main__'].__spec__
    name = module.name if module else pathlib.Path(sys.argv[0]).stem
    print(f'{name}: {" ".join(message.split())}', file=sys.stderr, flush=True)
    sys.exit(BAD_INPUT)


def count(text: str) -> int:
    """A whole number, at least 1: rounds, updates, images of a batch."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f'{text}: at least 1 is needed')
    return number


def counts(text: str) -> list[int]:
    """Several counts, separated by commas."""
    return [count(number) for number in text.split(',')]


def names(known: Iterable[str], separator: str = ',') -> Callable[[str], list[str]]:
    """A parser of names out of `known`, each kept once."""
    known = list(known)

    def some(text: str) -> list[str]:
        found = text.split(separator) if text else []
        for name in found:
            if name not in known:
                accepted = f'{separator} '.join(known)
                raise argparse.ArgumentTypeError(f'{name!r} is unknown: accepted are {accepted}')
        return list(dict.fromkeys(found))

    return some


def report(text: str) -> pathlib.Path:
    """A path for a report, checked to be writable; makes its folder."""
    path = pathlib.Path(text)
    is_new = not path.exists()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.open('a').close()
    except OSError as error:
        raise argparse.ArgumentTypeError(f'{text} cannot be written: {error.strerror}') from error
    if is_new:
        path.unlink()
    return path


def changes(pairs: Sequence[str], flag: str = '--set') -> dict[str, str]:
    """Changes of a config by key, from KEY=VALUE pairs.

    Raises:
        ValueError: a pair is no KEY=VALUE.
    """
    for pair in pairs:
        if '=' not in pair:
            raise ValueError(f'{flag}: {pair!r} is no KEY=VALUE, as model.dtype=bfloat16 is')
    return dict(pair.split('=', 1) for pair in pairs)
