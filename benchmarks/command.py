"""What the command lines of the benchmarks have in common, and one line for whatever is wrong with one of them.

Arguments are checked before anything is measured: a report that cannot be written is found now, and not in an hour.
"""

import argparse
import pathlib
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import NoReturn

BAD_INPUT = 2


def run(main: Callable[[], None]) -> None:
    """`main()`; what is wrong with the input is one line on stderr, and exit code 2."""
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
    """Several, with commas."""
    return [count(number) for number in text.split(',')]


def names(known: Iterable[str], separator: str = ',') -> Callable[[str], list[str]]:
    """Some of those that are known, each once."""
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
    """A file that can be written; its folder is made."""
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
    """Of a config, by key.

    Raises:
        ValueError: one is no KEY=VALUE.
    """
    for pair in pairs:
        if '=' not in pair:
            raise ValueError(f'{flag}: {pair!r} is no KEY=VALUE, as model.dtype=bfloat16 is')
    return dict(pair.split('=', 1) for pair in pairs)
