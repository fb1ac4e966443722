"""`launch.py --list_keys`: every key with default and meaning, read from the config files.

The meaning of a key is the comment above it in `configs/base.py` or `configs/modes/*.py`. Imports
no JAX.
"""

import ast
import difflib
import inspect
import textwrap
from typing import Any, NamedTuple

from experiments.settings.keys import FILES

_WIDTH = 100


class Key(NamedTuple):
    """A key of a config.

    Attributes:
        name: full key with its flag, as 'config.optimizer.lr' or 'sample.num'.
        default: its value.
        meaning: the comment above it.
    """

    name: str
    default: Any
    meaning: str

    def lines(self) -> list[str]:
        """The flag with its default, and below it the meaning."""
        value = str(self.default).lower() if isinstance(self.default, bool) else self.default
        indent = '    '
        meaning = textwrap.wrap(
            self.meaning, _WIDTH, initial_indent=indent, subsequent_indent=indent
        )
        return [f'--{self.name}={value}', *meaning]


def keys_of(flag: str) -> list[Key]:
    """The keys that a flag sets, in the order of their file.

    Args:
        flag: one of `experiments.settings.keys.FILES`.
    """
    source = inspect.getsource(FILES[flag])
    lines = source.splitlines()
    (function,) = (
        node
        for node in ast.parse(source).body
        if isinstance(node, ast.FunctionDef) and node.name == 'get_config'
    )
    found = []
    for node in function.body:
        # A key is set as in `c.optimizer.lr = 2e-4`, or by a call with its value, where it has several
        # types; groups are made by a call without arguments.
        if not isinstance(node, ast.Assign):
            continue
        value = node.value
        if isinstance(value, ast.Call):
            if not value.args:
                continue
            value = value.args[0]
        _, _, name = ast.unparse(node.targets[0]).partition('.')
        meaning = _comment_above(lines, node.lineno - 1)
        found.append(Key(f'{flag}.{name}', ast.literal_eval(value), meaning))
    return found


def matching(text: str) -> list[Key]:
    """The keys whose names contain `text`, or if there are none, those whose meanings do.

    Raises:
        ValueError: no key matches; the message names the nearest.
    """
    every = [key for flag in FILES for key in keys_of(flag)]
    words = text.lower()
    found = [key for key in every if words in key.name.lower()]
    found = found or [key for key in every if words in key.meaning.lower()]
    if not found:
        parts = sorted({part for key in every for part in (key.name, *key.name.split('.'))})
        near = difflib.get_close_matches(text, parts, n=1, cutoff=0.5)
        hint = f'; did you mean --list_keys={near[0]}?' if near else ''
        raise ValueError(f'--list_keys={text}: no key and no meaning contains it{hint}')
    return found


def show(text: str = '') -> None:
    """Prints the keys that match."""
    for key in matching(text):
        print('\n'.join(key.lines()))


def _comment_above(lines: list[str], index: int) -> str:
    """The comment directly above a line, as one text."""
    comment: list[str] = []
    while index > 0 and lines[index - 1].lstrip().startswith('#'):
        index -= 1
        comment.insert(0, lines[index].strip().removeprefix('#').strip())
    return ' '.join(comment)
