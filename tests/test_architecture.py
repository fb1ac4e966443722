"""Which parts of the code may import which, read from the source: nothing is imported here."""

import ast
import functools
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[1]
# From the bottom to the top: a part imports from its own row and from the rows above it in this
# list, never from the rows below.
LAYERS = (
    ('snjax.shapes', 'snjax.image_format'),  # names of types; sizes and types of images
    ('snjax.host',),
    ('snjax.parallel',),
    ('snjax.nn',),
    ('snjax.spectral',),
    ('snjax.objectives', 'snjax.models', 'snjax.latents', 'snjax.data'),
    ('snjax.from_config',),
    ('snjax.training', 'snjax.runs'),
    ('snjax.generate', 'snjax.metrics', 'snjax.sweeps'),
    ('snjax',),  # __init__.py, whose names are imported on first use
    ('experiments.settings',),
    ('experiments.build',),
    ('experiments',),  # the methods
    ('experiments.report', 'experiments.modes'),
    ('launch',),
)
AT_THE_ROOT_OF_SNJAX = {'__init__.py', 'from_config.py', 'image_format.py', 'py.typed', 'shapes.py'}
NOT_METHODS = {'__init__', 'build'}
MAX_LINES = 320
# Files that may be longer, and why.
LONG = {
    'experiments/gan.py': 'both updates of Algorithm 1, and what a method may override in them',
}


class Import(NamedTuple):
    """One imported module, where, and whether only type checkers see it."""

    module: str
    line: int
    is_for_types: bool


def name_of(path: Path) -> str:
    """Returns the dotted name of a source file."""
    parts = path.relative_to(ROOT).with_suffix('').parts
    return '.'.join(parts[:-1] if parts[-1] == '__init__' else parts)


SOURCES = {
    name_of(path): path
    for path in (
        ROOT / 'launch.py',
        *(
            p
            for folder in ('snjax', 'experiments', 'configs')
            for p in (ROOT / folder).rglob('*.py')
        ),
    )
}


def is_type_checking(node: ast.AST) -> bool:
    """Whether a node is `if TYPE_CHECKING:`."""
    return isinstance(node, ast.If) and ast.unparse(node.test).endswith('TYPE_CHECKING')


def walk(node: ast.AST, is_for_types: bool = False) -> Iterator[tuple[ast.AST, bool]]:
    """Yields all nodes below `node`, and whether they are under `if TYPE_CHECKING:`."""
    for child in ast.iter_child_nodes(node):
        inside = is_for_types or (is_type_checking(node) and child in node.body)
        yield child, inside
        yield from walk(child, inside)


@functools.cache
def imports(name: str) -> tuple[Import, ...]:
    """Returns what a module imports anywhere in its source, in functions too."""
    found = []
    path = SOURCES[name]
    for node, is_for_types in walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found += [Import(a.name, node.lineno, is_for_types) for a in node.names]
        elif isinstance(node, ast.ImportFrom):
            package = node.module or ''
            if node.level:
                here = name.split('.')[: None if path.stem == '__init__' else -1]
                here = here[: len(here) - node.level + 1]
                package = '.'.join([*here, *([node.module] if node.module else [])])
            for alias in node.names:
                module = f'{package}.{alias.name}'
                module = module if module in SOURCES else package
                found.append(Import(module, node.lineno, is_for_types))
    return tuple(found)


def layer(name: str) -> int | None:
    """Returns the row of `LAYERS` of a module's closest package; None outside of all."""
    parts = name.split('.')
    prefixes = ('.'.join(parts[:i]) for i in range(len(parts), 0, -1))
    rows = (i for prefix in prefixes for i, row in enumerate(LAYERS) if prefix in row)
    return next(rows, None)


def where(name: str, found: Import) -> str:
    return f'{SOURCES[name].relative_to(ROOT)}:{found.line} imports {found.module}'


def test_the_sources_are_found():
    assert {'launch', 'snjax', 'snjax.parallel', 'experiments.build', 'configs.base'} <= set(
        SOURCES
    )
    assert Import('snjax.generate.load', 10, True)._replace(line=0) in {
        found._replace(line=0) for found in imports('snjax')
    }
    assert len(SOURCES) > 100


@pytest.mark.parametrize('row', LAYERS, ids=', '.join)
def test_imports_between_packages_go_one_way(row):
    upward = [
        where(name, found)
        for name in SOURCES
        if (mine := layer(name)) is not None and LAYERS[mine] == row
        for found in imports(name)
        if (other := layer(found.module)) is not None and other > mine
    ]
    assert upward == []


def test_every_package_of_snjax_has_its_layer():
    packages = {name for name in SOURCES if name.count('.') == 1 and name.startswith('snjax.')}
    assert packages == {name for row in LAYERS for name in row if name.startswith('snjax.')}


def test_no_modules_import_each_other_in_a_circle():
    graph = {
        name: {f.module for f in imports(name) if f.module in SOURCES and not f.is_for_types}
        for name in SOURCES
    }
    # What imports nothing that is left, is in no circle; what remains is in one or leads to one.
    while done := {name for name, needed in graph.items() if not needed & graph.keys()}:
        graph = {name: needed for name, needed in graph.items() if name not in done}
    # And what nobody left imports, only leads to one.
    while first := graph.keys() - {module for needed in graph.values() for module in needed}:
        graph = {name: needed for name, needed in graph.items() if name not in first}
    assert {name: sorted(needed & graph.keys()) for name, needed in graph.items()} == {}


def test_the_library_knows_neither_experiments_nor_configs():
    outside = ('experiments', 'configs', 'ml_collections', 'launch', 'benchmarks')
    found = [
        where(name, found)
        for name in SOURCES
        if name.split('.')[0] == 'snjax'
        for found in imports(name)
        if found.module.split('.')[0] in outside
    ]
    assert found == []


def config_keys(tree: ast.AST) -> list[str]:
    """Returns the keys that a source reads from a `config`: `config['a']`, `x.config.get('a')`."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Subscript):
            holder, key = node.value, node.slice
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.args:
            holder, key = (node.func.value if node.func.attr == 'get' else None), node.args[0]
        else:
            continue
        name = getattr(holder, 'attr', getattr(holder, 'id', None))
        if name == 'config' and isinstance(key, ast.Constant) and isinstance(key.value, str):
            found.append(key.value)
    return found


def test_only_from_config_reads_config_keys_in_the_library():
    sources = {name: path for name, path in SOURCES.items() if name.split('.')[0] == 'snjax'}
    keys = {name: config_keys(ast.parse(path.read_text())) for name, path in sources.items()}
    assert {name for name, found in keys.items() if found} == {'snjax.from_config'}
    text = "config['a'], run.config.get('b'), self.config['c']['d'], other['e'], config.get(f)"
    assert sorted(config_keys(ast.parse(text))) == ['a', 'b', 'c']


def test_every_file_at_the_root_of_experiments_makes_a_method():
    for path in (ROOT / 'experiments').glob('*.py'):
        if path.stem not in NOT_METHODS:
            body = ast.parse(path.read_text()).body
            functions = {node.name for node in body if isinstance(node, ast.FunctionDef)}
            assert 'make' in functions, path.name


def test_the_root_of_snjax_holds_packages_only():
    files = {path.name for path in (ROOT / 'snjax').iterdir() if path.is_file()}
    assert files <= AT_THE_ROOT_OF_SNJAX


def test_no_file_grows_long():
    lengths = {
        path.relative_to(ROOT).as_posix(): len(path.read_text().splitlines())
        for name, path in SOURCES.items()
        if name.split('.')[0] in ('snjax', 'experiments', 'launch')
    }
    long = {name: n for name, n in lengths.items() if n > MAX_LINES and name not in LONG}
    assert long == {}
    # A file that was split needs no exception any more.
    assert [name for name in LONG if lengths.get(name, 0) <= MAX_LINES] == []
