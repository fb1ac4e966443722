"""Extractors of the user's own, by import path: `--evaluate.extractor=my_features:dino`.

`my_features.dino(weights)` returns `(variables, apply)`. `weights` is the text of
`--evaluate.weights`, '' by default; `variables` is any pytree of arrays. `apply(variables, images)`
takes uint8 images (b, h, w, c) and returns features (b, d), or the pair (features, logits (b, k))
for a classifier score too. JAX traces it; a network of another library goes into
`jax.pure_callback` (docs/usage/score.md has ten lines for PyTorch).
"""

import ast
import hashlib
import importlib
import pathlib
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

_INSTALLED = ('site-packages', 'dist-packages')
_PATH = re.compile(r'[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*')


class Imported(NamedTuple):
    """A network of the user's, and the hash of its source, its variables and the weights that were
    asked for. The source is its module and those beside it that it imports, and they import."""

    variables: Any
    apply: Callable[[Any, Any], tuple[Any, Any]]
    sha256: str


def is_path(name: str) -> bool:
    """Whether an extractor's name is an import path, `package.module:function`."""
    return bool(_PATH.fullmatch(name))


def find(name: str) -> Callable[[str], Any]:
    """The function that an import path names; modules of the working folder are found, too.

    Raises:
        ValueError: of one line: no such module or function, or the module cannot be imported.
    """
    module_name, _, function_name = name.partition(':')
    try:
        with _working_folder():
            module = importlib.import_module(module_name)
    except Exception as error:  # the user's module may raise anything
        words = ' '.join(str(error).split()) or type(error).__name__
        raise ValueError(
            f'eval.extractor is {name!r}, and {module_name} cannot be imported ({words}): give '
            'package.module:function of a module in the working folder or on PYTHONPATH'
        ) from error
    found = getattr(module, function_name, None)
    if not callable(found):
        raise ValueError(
            f'eval.extractor is {name!r}, but {module_name} has no function {function_name}'
        )
    return found


def load(name: str, weights: str) -> Imported:
    """Loads the network that an import path names.

    Raises:
        ValueError: of one line: there is none, or its function returned something else.
    """
    function = find(name)
    with _working_folder():  # a function may import beside itself, too
        made = function(weights)
    if not isinstance(made, tuple) or len(made) != 2 or not callable(made[1]):
        raise ValueError(
            f'eval.extractor is {name!r}, which returned {type(made).__name__}: a pair (variables, '
            'apply) is needed'
        )
    variables, apply = made

    def checked(variables, images):
        out = apply(variables, images)
        features, logits = out if isinstance(out, tuple) else (out, None)
        num = len(images)
        if logits is None:
            logits = jnp.zeros((num, 1))  # of one class, whose score says nothing
        for what, x in (('features', features), ('logits', logits)):
            if jnp.ndim(x) != 2 or len(x) != num:
                raise ValueError(
                    f'eval.extractor is {name!r}, whose {what} of {num} images are of shape '
                    f'{jnp.shape(x)}: ({num}, d) is needed'
                )
        return features, logits

    return Imported(variables, checked, _sha256(function, variables, weights))


def _sha256(function: Callable[..., Any], variables: Any, weights: str) -> str:
    digest = hashlib.sha256()
    file = getattr(sys.modules.get(function.__module__), '__file__', None)
    if file:
        digest.update(pathlib.Path(file).read_bytes())
        for name, helper in sorted(
            _helpers(function.__module__, pathlib.Path(file).absolute()).items()
        ):
            digest.update(name.encode() + helper.read_bytes())
    for path, leaf in jax.tree_util.tree_leaves_with_path(variables):
        digest.update(jax.tree_util.keystr(path).encode())
        digest.update(np.ascontiguousarray(leaf).tobytes())
    # A callback may keep what it loads to itself. A file is the same wherever it lies.
    if weights and pathlib.Path(weights).is_file():
        with open(weights, 'rb') as opened:
            digest.update(hashlib.file_digest(opened, 'sha256').digest())
    else:
        digest.update(weights.encode())
    return digest.hexdigest()


def _helpers(module: str, file: pathlib.Path) -> dict[str, pathlib.Path]:
    """Files of the modules that a module imports, and they in turn, from its own folder.

    They are found by the import statements, also those inside functions, which may not have run.
    What is installed, and snjax, have versions instead.
    """
    parts = module.split('.')
    depth = len(parts) - (file.name != '__init__.py')
    if depth >= len(file.parents):  # not where its name says, as `__main__` may be
        return {}
    root = file.parents[depth]
    found, waiting = {module: file}, [module]
    while waiting:
        name = waiting.pop()
        for other in _named_in(name, found[name]):
            top = other.split('.')[0]
            is_own = top != 'snjax' and (root.name not in _INSTALLED or top == parts[0])
            path = root.joinpath(*other.split('.'))
            for source in (path.with_suffix('.py'), path / '__init__.py'):
                if is_own and source.is_file() and other not in found:
                    found[other] = source
                    waiting.append(other)
    del found[module]
    return found


def _named_in(module: str, file: pathlib.Path) -> Iterator[str]:
    """The full names in the import statements of a file, each after the packages that hold it."""
    package = module if file.name == '__init__.py' else module.rpartition('.')[0]
    try:
        tree = ast.parse(file.read_bytes())
    except (SyntaxError, ValueError):  # compiled, or never run
        return
    # Python runs the packages that hold a module before it.
    for node in [ast.Import([ast.alias(module)]), *ast.walk(tree)]:
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            above = package.split('.')[: len(package.split('.')) - node.level + 1]
            start = (above if node.level else []) + ([node.module] if node.module else [])
            # A module, or a name in one.
            names = ['.'.join([*start, alias.name]) for alias in node.names]
        for name in names:
            pieces = name.split('.')
            yield from ('.'.join(pieces[: i + 1]) for i in range(len(pieces)))


@contextmanager
def _working_folder() -> Iterator[None]:
    sys.path.insert(0, '')
    try:
        yield
    finally:
        sys.path.remove('')
