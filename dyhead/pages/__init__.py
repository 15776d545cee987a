"""Pages of HTML that need nothing beside themselves, in one style, light and dark."""

from dyhead.pages.render import printable, render_page

__all__ = ["printable", "render_page"]
