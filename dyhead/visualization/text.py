"""Text on pictures: the font, texts that fit into a width, and captions."""

import functools
from pathlib import Path

import matplotlib
from PIL import Image, ImageDraw, ImageFont

from dyhead.visualization.colors import Color, text_color

_ELLIPSIS = "..."


@functools.cache
def font(size: int) -> ImageFont.FreeTypeFont:
    """Return the font that comes with matplotlib, at a size in pixels."""
    return ImageFont.truetype(Path(matplotlib.get_data_path(), "fonts/ttf/DejaVuSans.ttf"), size)


def one_line(text: str) -> str:
    """Return the text without line breaks and repeated spaces."""
    return " ".join(text.split())


def shorten(text: str, limit: int) -> str:
    """Cut a text to at most `limit` characters, and mark that it was cut."""
    return text if len(text) <= limit else text[: limit - len(_ELLIPSIS)] + _ELLIPSIS


def fit(text: str, width: float, text_font: ImageFont.FreeTypeFont) -> str:
    """Cut a text to at most `width` pixels, and mark that it was cut.

    Returns:
        "" where not even two characters of it fit.
    """
    if text_font.getlength(text) <= width:
        return text
    for length in range(len(text) - 1, 1, -1):
        if text_font.getlength(shortened := text[:length].rstrip() + _ELLIPSIS) <= width:
            return shortened
    return ""


def draw_caption(
    picture: Image.Image,
    text: str,
    position: tuple[float, float],
    *,
    size: int,
    color: Color,
    anchor: float = 0.5,
    rotation: float = 0,
) -> None:
    """Write a text on a coloured ground onto a picture, black or white as it is read better.

    Args:
        picture: changed in place.
        text: one line.
        position: (x, y) in pixels of the top of the text, as it lies before it is rotated.
        size: of the font, in pixels.
        color: of the ground.
        anchor: the share of the text's width that lies left of `position`.
        rotation: degrees, counter-clockwise, about the middle of the text.
    """
    text_font = font(size)
    padding = max(size // 8, 1)
    width = round(text_font.getlength(text)) + 2 * padding
    caption = Image.new("RGBA", (width, sum(text_font.getmetrics()) + padding), color)
    corner, fill = (padding, padding // 2), text_color(color)
    ImageDraw.Draw(caption).text(corner, text, fill=fill, font=text_font)
    rotated = caption.rotate(rotation, expand=True, resample=Image.Resampling.BICUBIC)
    left = position[0] - anchor * width - (rotated.width - width) / 2
    top = position[1] - (rotated.height - caption.height) / 2
    picture.paste(rotated, (round(left), round(top)), mask=rotated)
