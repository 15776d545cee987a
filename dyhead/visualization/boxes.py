"""Boxes with labels on a picture: the one place where they are drawn.

Coordinates are (x, y) in pixels; the pixel in column i covers x from i to i + 1.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from PIL import Image, ImageDraw, ImageFont

from dyhead.visualization.colors import Color, text_color
from dyhead.visualization.label_places import Rectangle, place_labels
from dyhead.visualization.text import fit, font, one_line

_MIN_SIDE = 320  # a picture whose longer side is shorter is enlarged to be read
_MIN_FONT_SIZE = 11  # pixels
_DIAGONAL_OVER_FONT_SIZE = 68
_DIAGONAL_OVER_LINE_WIDTH = 320
_MIN_LINE_WIDTH = 2  # pixels, save for small boxes
_SIDE_OVER_LINE_WIDTH = 10  # a thicker line would hide a small object
_LINE_OVER_CASING = 3  # width of a line over that of what surrounds it
_PADDING = 2  # pixels around a label's text, at the smallest font


@dataclass(frozen=True)
class DrawnBox:
    """A box and what is written beside it."""

    corners: tuple[float, float, float, float]  # XYXY in pixels of the picture
    color: Color
    name: str = ""
    score: float | None = None  # from 0 to 1
    is_dashed: bool = False


class LabelLayout(NamedTuple):
    """The texts of labels and their places; "" and None for boxes that have no label."""

    font: ImageFont.FreeTypeFont
    padding: int  # pixels around a text
    texts: Sequence[str]
    places: Sequence[Rectangle | None]


def draw_boxes(
    image: Image.Image, boxes: Sequence[DrawnBox], zoom: float = 1.0, font_scale: float = 1.0
) -> Image.Image:
    """Draw boxes, the most certain on top, with their names and scores.

    Lines and text are as thick and large as the picture's size asks for, and thinner around small
    boxes. A black or white line around each is seen where the ground has the box's colour. A label
    lies where it hides the least of the objects, within the picture. Where it could only lie on a
    small object or on the label of a more certain box, or where labels would hide more than an
    eighth of the picture, it is left out; the colour still tells the class.

    Args:
        image: of any mode; it stays as it is.
        boxes: XYXY in pixels of `image`; what lies beyond it is not drawn.
        zoom: size of the result over the size of `image`.
        font_scale: multiplies the size of the text.

    Returns:
        A new picture of the mode RGB.
    """
    picture = _resized(image, zoom)
    draw = ImageDraw.Draw(picture)
    # the least certain first, and among equals the largest, so that small ones stay visible
    ordered = sorted(
        visible_boxes(boxes, zoom, picture.size), key=lambda b: (b[0].score or 0, -_area(b[1]))
    )
    width = max(round(math.hypot(*picture.size) / _DIAGONAL_OVER_LINE_WIDTH), _MIN_LINE_WIDTH)
    for box, area in ordered:
        _draw_outline(draw, area, box, width)
    _draw_labels(draw, ordered[::-1], font_scale)
    return picture


def readable_zoom(size: tuple[int, int]) -> int:
    """Return the whole number that enlarges a picture of (width, height) to readable labels."""
    return max(math.ceil(_MIN_SIDE / max(size)), 1)


def _resized(image: Image.Image, zoom: float) -> Image.Image:
    size = (max(round(image.width * zoom), 1), max(round(image.height * zoom), 1))
    if size == image.size:
        return image.convert("RGB") if image.mode != "RGB" else image.copy()
    return image.convert("RGB").resize(size, Image.Resampling.LANCZOS)


def visible_boxes(
    boxes: Sequence[DrawnBox], zoom: float, size: tuple[int, int]
) -> Iterator[tuple[DrawnBox, Rectangle]]:
    """Yield boxes with the whole pixels that they cover in a picture of (width, height).

    Args:
        boxes: XYXY in pixels of the picture before it is enlarged.
        zoom: by how much it is enlarged.
        size: of the enlarged picture.
    """
    for box in boxes:
        left, top, right, bottom = (value * zoom for value in box.corners)
        if not all(map(math.isfinite, (left, top, right, bottom))):
            continue
        if right < 0 or bottom < 0 or left > size[0] or top > size[1]:
            continue
        left, top = min(max(round(left), 0), size[0] - 1), min(max(round(top), 0), size[1] - 1)
        right, bottom = min(round(right), size[0]), min(round(bottom), size[1])
        yield box, Rectangle(left, top, max(right, left + 1), max(bottom, top + 1))


def _area(area: Rectangle) -> int:
    return (area.right - area.left) * (area.bottom - area.top)


def _draw_outline(draw: ImageDraw.ImageDraw, area: Rectangle, box: DrawnBox, width: int) -> None:
    """Draw lines inside the box's edges, and around them thin ones that any ground shows."""
    side = min(area.right - area.left, area.bottom - area.top)
    width = max(min(width, side // _SIDE_OVER_LINE_WIDTH), 1)
    inclusive = (area.left, area.top, area.right - 1, area.bottom - 1)  # as PIL counts
    casing = max(round(width / _LINE_OVER_CASING), 1)
    around = (area.left - casing, area.top - casing, area.right - 1 + casing)
    lowest = area.bottom - 1 + casing
    draw.rectangle((*around, lowest), outline=text_color(box.color), width=casing)
    if not box.is_dashed:
        draw.rectangle(inclusive, outline=box.color, width=width)
        return
    for line in _dashes(inclusive, 4 * width, width):
        draw.rectangle(line, fill=box.color)


def _dashes(
    corners: tuple[int, int, int, int], dash: int, width: int
) -> Iterator[tuple[int, int, int, int]]:
    """Rectangles along the four edges, as long as the gaps between them."""
    left, top, right, bottom = corners
    for x in range(left, right + 1, 2 * dash):
        end = min(x + dash - 1, right)
        yield x, top, end, min(top + width - 1, bottom)
        yield x, max(bottom - width + 1, top), end, bottom
    for y in range(top, bottom + 1, 2 * dash):
        end = min(y + dash - 1, bottom)
        yield left, y, min(left + width - 1, right), end
        yield max(right - width + 1, left), y, right, end


def lay_out_labels(
    boxes: Sequence[tuple[DrawnBox, Rectangle]], size: tuple[int, int], font_scale: float = 1.0
) -> LabelLayout:
    """Choose the texts and the places of labels; the boxes that come first choose first.

    Args:
        boxes: with the whole pixels that they cover.
        size: width and height of the picture.
        font_scale: see `draw_boxes`.
    """
    usual = max(round(math.hypot(*size) / _DIAGONAL_OVER_FONT_SIZE), _MIN_FONT_SIZE)
    text_font = font(max(round(font_scale * usual), 1))
    padding = round(_PADDING * text_font.size / _MIN_FONT_SIZE)
    height = sum(text_font.getmetrics()) + padding
    texts = [_text(box, size[0] - 2 * padding, text_font) for box, _ in boxes]
    sizes = [
        (math.ceil(text_font.getlength(text)) + 2 * padding, height) if text else None
        for text in texts
    ]
    places = place_labels([area for _, area in boxes], sizes, size)
    return LabelLayout(text_font, padding, texts, places)


def _draw_labels(
    draw: ImageDraw.ImageDraw, boxes: Sequence[tuple[DrawnBox, Rectangle]], font_scale: float
) -> None:
    """Write the names; the boxes that come first choose their places first."""
    layout = lay_out_labels(boxes, draw.im.size, font_scale)
    for (box, _), text, place in zip(boxes, layout.texts, layout.places, strict=True):
        if place is not None:
            draw.rectangle(
                (place.left, place.top, place.right - 1, place.bottom - 1), fill=box.color
            )
            corner = (place.left + layout.padding, place.top + layout.padding // 2)
            draw.text(corner, text, fill=text_color(box.color), font=layout.font)


def _text(box: DrawnBox, width: float, text_font: ImageFont.FreeTypeFont) -> str:
    """Name and score in at most `width` pixels; a long name is cut, the score is not."""
    score = "" if box.score is None else f"{box.score:.0%}"
    name = one_line(box.name)
    room = width - text_font.getlength(f" {score}") if score else width
    text = f"{fit(name, room, text_font)} {score}".strip()
    return text if text_font.getlength(text) <= width else ""
