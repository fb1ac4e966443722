"""The directive `package`: the reference of a package of snjax, module after module."""

import ast
import importlib
import pathlib
import pkgutil

from sphinx.util.docutils import SphinxDirective

LONGEST = 70  # characters of a value that is shown


class Package(SphinxDirective):
    """Documents every module of a package, the package itself first."""

    required_arguments = 1

    def run(self):
        package = importlib.import_module(self.arguments[0])
        names = [package.__name__]
        if hasattr(package, '__path__') and package.__name__ != 'snjax':
            names += [
                f'{package.__name__}.{m.name}' for m in pkgutil.iter_modules(package.__path__)
            ]
        lines = []
        for name in names:
            for_reader = f'## `{name}`' if len(names) > 1 else ''
            lines += [for_reader, '', '```{eval-rst}', f'.. automodule:: {name}']
            # Names that a package imports are documented where they are defined.
            lines += ['   :ignore-module-all:', '```', '', *constants(name)]
        for name in names:
            self.env.note_dependency(str(pathlib.Path(importlib.import_module(name).__file__)))
        return self.parse_text_to_nodes('\n'.join(lines), allow_section_headings=True)


def constants(name):
    """A table of a module's public constants and types, which have no docstrings."""
    rows = []
    for node in ast.parse(pathlib.Path(importlib.import_module(name).__file__).read_text()).body:
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, 'target', None)]
        found = [t.id for t in targets if isinstance(t, ast.Name) and not t.id.startswith('_')]
        if isinstance(node, ast.Assign | ast.AnnAssign) and found and node.value is not None:
            value = ast.unparse(node.value).replace('|', '\\|')
            if len(value) > LONGEST:
                kind = type(getattr(importlib.import_module(name), found[0])).__name__
                value = f'{kind} of the source'
            rows += [f'| `{", ".join(found)}` | `{value}` |']
    return ['| constant or type | value |', '|---|---|', *rows, ''] if rows else []


def setup(app):
    app.add_directive('package', Package)
    return {'parallel_read_safe': True, 'parallel_write_safe': True}
