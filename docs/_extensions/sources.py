"""Links of Markdown pages to files of the repository that are no pages: code, configs, tests.

On GitHub such a link shows the file. Here it leads to a page of the site with the file's text, so
that the site needs no network. A link to a folder leads to a list of its files.
"""

import pathlib
import posixpath
import re

from docutils import nodes
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import TextLexer, get_lexer_for_filename
from pygments.util import ClassNotFound
from sphinx.util import logging

SCHEME = 'repository'
LINK = re.compile(r'\]\(([^)\s:#]+)(#[^)\s]*)?\)')
FENCE = re.compile(r'^ *(```|~~~|:::).*?^ *\1 *$', re.M | re.S)
PICTURES = {'.png', '.svg', '.gif'}
TEXTS = {'.py', '.sh', '.toml', '.txt', '.json', '.cff', '.cfg', '.yml', '.bib', '.css', ''}
logger = logging.getLogger(__name__)


def mark_links(app, docname, source):
    """Gives links to files without a page a scheme of their own, which MyST leaves alone."""
    folder = posixpath.dirname(docname)

    def mark(match):
        target = posixpath.normpath(posixpath.join(folder, match[1]))
        path = pathlib.Path(app.srcdir, target)
        if path.suffix in PICTURES:
            return match[0]
        if path.suffix == '.md' and path.with_suffix('').relative_to(app.srcdir).as_posix() in (
            app.env.found_docs
        ):
            return match[0]
        if not path.exists():
            logger.warning('a link to %s, which does not exist', match[1], location=docname)
            return match[0]
        return f']({SCHEME}:{target})'

    text, parts, end = source[0], [], 0
    for fence in FENCE.finditer(text):  # code stays as it is
        parts += [LINK.sub(mark, text[end : fence.start()]), fence[0]]
        end = fence.end()
    source[0] = ''.join([*parts, LINK.sub(mark, text[end:])])


def resolve(app, doctree, docname):
    """Points the marked links to the pages that `pages` writes."""
    for node in doctree.findall(nodes.reference):
        scheme, _, target = node.get('refuri', '').partition(':')
        if scheme == SCHEME:
            node['refuri'] = app.builder.get_relative_uri(docname, page_of(target))
            node['internal'] = True
            for path in with_contents(app, target):
                app.env.repository_files.add(path)


def with_contents(app, target):
    """A file; a folder and the texts in it."""
    path = pathlib.Path(app.srcdir, target)
    inside = [p for p in sorted(path.iterdir()) if shown(p)] if path.is_dir() else []
    return [target, *(p.relative_to(app.srcdir).as_posix() for p in inside if p.is_file())]


def shown(path):
    return not path.name.startswith(('_', '.')) and (path.is_dir() or path.suffix in TEXTS)


def page_of(target):
    return f'source/{target}'


def pages(app):
    """A page for every linked file or folder, in the theme."""
    for target in sorted(app.env.repository_files):
        path = pathlib.Path(app.srcdir, target)
        body = folder_list(app, target) if path.is_dir() else listing(path)
        yield page_of(target), {'title': target, 'body': f'<h1>{target}</h1>{body}'}, 'page.html'


def listing(path):
    try:
        lexer = get_lexer_for_filename(path.name)
    except ClassNotFound:
        lexer = TextLexer()
    return highlight(path.read_text(), lexer, HtmlFormatter(cssclass='highlight'))


def folder_list(app, target):
    files = [t for t in with_contents(app, target)[1:]]
    rows = (
        f'<li><a href="{app.builder.get_relative_uri(page_of(target), page_of(file))}">'
        f'{posixpath.basename(file)}</a></li>'
        for file in files
    )
    return f'<ul>{"".join(rows)}</ul>'


def begin(app, env, docnames):
    if not hasattr(env, 'repository_files'):
        env.repository_files = set()


def setup(app):
    app.connect('env-before-read-docs', begin)
    app.connect('source-read', mark_links)
    app.connect('doctree-resolved', resolve)
    app.connect('html-collect-pages', pages)
    return {'parallel_read_safe': True, 'parallel_write_safe': False}
