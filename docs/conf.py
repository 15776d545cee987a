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
html_copy_source = html_show_copyright = False

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
extensions += ["docstring_code", "notebook_pages"]
exclude_patterns = ["_site"]
myst_heading_anchors = 3  # links to headings of the pages, as on any host of Markdown

autoclass_content = "both"  # what a constructor takes stands in its own docstring
autodoc_inherit_docstrings = False
autodoc_member_order = "bysource"
napoleon_use_ivar = True  # attributes that are properties too are described once
autodoc_typehints = "signature"
default_role = "code"  # docstrings have single backticks
