"""The site of the documents: ``make docs`` writes it to ``build/docs``.

Sphinx and not MkDocs: its ``-W`` knows dead links to headings, its extensions generate pages
from the code, and MkDocs' theme Material is in maintenance mode.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))  # for `generated`

from bids_synthsr import __version__

project = 'bids_synthsr'
version = release = __version__
author = 'The authors of bids_synthsr'
copyright = 'The authors of bids_synthsr. Apache-2.0.'  # noqa: A001 - Sphinx' word

extensions = ['myst_parser', 'sphinx.ext.autodoc', 'sphinx.ext.napoleon', 'generated']
exclude_patterns = ['_build']
suppress_warnings = ['myst.header']  # included files begin with their own heading

myst_heading_anchors = 3
myst_links_external_new_tab = False

autodoc_typehints = 'description'
autodoc_typehints_description_target = 'documented'
autodoc_member_order = 'bysource'
napoleon_google_docstring = False
napoleon_use_rtype = False
smartquotes = False  # or --option becomes an en dash
add_module_names = False

html_theme = 'furo'
html_title = f'bids_synthsr {__version__}'
html_show_sphinx = False
html_copy_source = False
html_theme_options = {'navigation_with_keys': True}
