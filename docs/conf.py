"""The site: `make docs`, then open docs/_build/html/index.html.

The source folder is the repository's, so that every Markdown file is a page under its own path, and
a link that works on GitHub works here. Warnings are errors. Pages that are notebooks (Markdown with
`code-cell`) are executed, and their outputs kept in docs/_build/cache until a cell changes.
"""

import os
import pathlib
import sys

ROOT = pathlib.Path(__file__).parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / 'docs' / '_extensions'), str(ROOT / 'tests')]

import snjax  # noqa: E402
from helpers.compiling import QUICKLY  # noqa: E402

# Of the notebooks' processes, whose networks are so small that compiling is most of the work.
os.environ['PYTHONPATH'] = str(ROOT)
os.environ.setdefault('XLA_FLAGS', QUICKLY)

project = 'snjax'
author = 'The snjax authors'
project_copyright = author
version = release = snjax.__version__

root_doc = 'docs/index'
include_patterns = [
    'README.md',
    'CHANGELOG.md',
    'CONTRIBUTING.md',
    'benchmarks/README.md',
    'docs/**',
]
exclude_patterns = ['.venv*', 'docs/_*', 'runs', 'sweeps', 'build', 'dist']
extensions = [
    'myst_nb',
    'sphinx.ext.autodoc',
    'sphinx.ext.napoleon',
    'sphinx_copybutton',
    'sphinx_design',
    'sphinxcontrib.bibtex',
    'api',
    'docstrings',
    'mathml',
    'sources',
]

# Notebooks.
nb_execution_mode = 'cache'
nb_execution_cache_path = str(ROOT / 'docs' / '_build' / 'cache')
nb_execution_timeout = 600
nb_execution_raise_on_error = True
nb_merge_streams = True
nb_execution_show_tb = True

# Markdown.
myst_enable_extensions = ['colon_fence', 'deflist', 'dollarmath']
myst_heading_anchors = 4
myst_url_schemes = {'http': None, 'https': None, 'mailto': None, 'repository': None}
bibtex_bibfiles = ['references.bib']
bibtex_default_style = 'plain'
bibtex_reference_style = 'author_year'

# The library's reference, from its docstrings.
default_role = 'py:obj'
autodoc_member_order = 'bysource'
autodoc_typehints = 'signature'
autodoc_typehints_format = 'short'
autodoc_default_options = {'members': True, 'show-inheritance': True}
autodoc_preserve_defaults = True
python_maximum_signature_line_length = 88
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True  # attributes are a list, and no objects of their own
napoleon_attr_annotations = False  # the signature has them
napoleon_use_rtype = False
suppress_warnings = ['ref.python']  # a name in backticks that several modules have
maximum_signature_line_length = 88
add_module_names = False
toc_object_entries_show_parents = 'hide'

html_theme = 'sphinx_book_theme'
html_title = f'snjax {version}'
html_static_path = ['_static']
html_css_files = ['site.css']
html_show_sourcelink = False
html_copy_source = False
html_additional_pages = {'index': 'redirect.html'}
templates_path = ['_templates']
html_theme_options = {
    'show_navbar_depth': 1,
    'show_toc_level': 2,
    'use_download_button': False,
    'use_fullscreen_button': False,
    'home_page_in_toc': True,
    # The search of the side is enough.
    'navbar_start': [],
    'navbar_center': [],
    'navbar_end': [],
    'navbar_persistent': [],
}
