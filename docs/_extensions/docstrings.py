"""Docstrings as Sphinx reads them.

They are plain text with Markdown's backticks. reStructuredText sees more in such text than is
meant: |x| is a substitution, x_ a link, an indented example a quotation. This escapes the former
and makes examples literal, before napoleon reads the sections.
"""

import re

SECTIONS = re.compile(r'^(Args|Arguments|Attributes|Returns|Raises|Yields|Note|Example)s?:$')
CODE = re.compile(r'(``.*?``|`[^`\n]*`)')


def escape(text):
    """Escapes what is no markup, outside of code."""
    parts = CODE.split(text)
    for i in range(0, len(parts), 2):
        parts[i] = re.sub(r'([\\*|]|_(?!\w))', r'\\\1', parts[i])
        if i and parts[i][:1].isalnum():  # `layer`s: markup ends where a word does
            parts[i] = f'\\ {parts[i]}'
    return ''.join(parts)


def indentation(line):
    return len(line) - len(line.lstrip())


def process(app, what, name, obj, options, lines):
    """Rewrites the lines of one docstring."""
    found, in_section, last, i = [], False, '', 0
    while i < len(lines):
        line = lines[i]
        if SECTIONS.match(line):
            in_section = True
        elif line and not line.startswith(' '):
            in_section = False
        starts_block = (
            not in_section and line.strip() and indentation(line) and not lines[i - 1].strip()
        )
        if starts_block and not re.match(r'\s*([-*]|\d+\.) ', last):
            end = i
            while end < len(lines) and (not lines[end].strip() or indentation(lines[end])):
                end += 1
            found += ['.. code-block:: none', '', *lines[i:end], '']
            last, i = '', end
            continue
        bullet = re.match(r'(\s*)\* ', line)
        rest = line[bullet.end() :] if bullet else line
        found.append((bullet[1] + '- ' if bullet else '') + escape(rest))
        last = line if line.strip() else last
        i += 1
    lines[:] = found


def skip(app, what, name, obj, would_skip, options):
    """Leaves out the fields of named tuples, which the list of attributes explains."""
    return True if type(obj).__name__ == '_tuplegetter' else None


def setup(app):
    app.connect('autodoc-skip-member', skip)
    app.connect('autodoc-process-docstring', process, priority=100)
    return {'parallel_read_safe': True, 'parallel_write_safe': True}
