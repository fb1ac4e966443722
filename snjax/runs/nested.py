"""Nested dicts from leaves by path.

Not `flax.traverse_util.unflatten_dict`: importing it imports JAX, and config files are read by
processes without JAX.
"""

from collections.abc import Mapping
from typing import Any


def nested(leaves: Mapping[tuple[str, ...], Any]) -> Any:
    """Returns {('a', 'b'): x} as {'a': {'b': x}}, and {(): x} as x."""
    root: dict = {}
    for path, leaf in leaves.items():
        if not path:
            return leaf
        node = root
        for key in path[:-1]:
            node = node.setdefault(key, {})
        node[path[-1]] = leaf
    return root
