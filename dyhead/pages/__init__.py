"""Pages of HTML in one style, light, dark and printed, that fetch nothing.

`base.css` has the colours and plain elements of all pages, `document.css` those of pages that are
read from top to bottom, and `document.html` is the frame that templates of such pages extend.
"""

from dyhead.pages.data_uri import as_data_uri
from dyhead.pages.render import base_style, printable, render_page

__all__ = ["as_data_uri", "base_style", "printable", "render_page"]
