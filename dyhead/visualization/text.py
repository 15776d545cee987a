"""Text on pictures: the font, and texts that fit into a width."""

import functools
from pathlib import Path

import matplotlib
from PIL import ImageFont

_ELLIPSIS = "..."


@functools.cache
def font(size: int) -> ImageFont.FreeTypeFont:
    """The font that comes with matplotlib, at a size in pixels."""
    return ImageFont.truetype(Path(matplotlib.get_data_path(), "fonts/ttf/DejaVuSans.ttf"), size)


def one_line(text: str) -> str:
    """The text without line breaks and repeated spaces."""
    return " ".join(text.split())


def shorten(text: str, limit: int) -> str:
    """At most `limit` characters; what was cut off is marked."""
    return text if len(text) <= limit else text[: limit - len(_ELLIPSIS)] + _ELLIPSIS


def fit(text: str, width: float, text_font: ImageFont.FreeTypeFont) -> str:
    """The longest beginning of a text that is at most `width` pixels wide, marked where it was cut.

    Returns:
        "" where not even two characters of it fit.
    """
    if text_font.getlength(text) <= width:
        return text
    for length in range(len(text) - 1, 1, -1):
        if text_font.getlength(shortened := text[:length].rstrip() + _ELLIPSIS) <= width:
            return shortened
    return ""
