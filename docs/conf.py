"""Settings of Sphinx for these pages as a site: `make docs`; nothing is fetched for it."""

import sys
from pathlib import Path

DOCS = Path(__file__).parent
sys.path[:0] = [str(DOCS.parent), str(DOCS / "_site")]

from dyhead import __version__  # noqa: E402

project = "DyHead"
release = version = __version__
html_title = f"DyHead {__version__}"
html_theme = "furo"
html_copy_source = False

extensions = ["myst_parser", "notebook_pages", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_site"]
myst_heading_anchors = 3  # links to headings of the pages, as on any host of Markdown

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
default_role = "code"  # docstrings have single backticks
suppress_warnings = ["config.cache"]
