"""The style that all pages of the project share: colours, light and dark, and text.

Nothing is imported here: a page is written where nothing else of the project is needed.
"""

from importlib.resources import files


def base_style() -> str:
    """Return the CSS of colours, of light and dark, and of plain elements."""
    return (files(__name__) / "base.css").read_text(encoding="utf-8")
