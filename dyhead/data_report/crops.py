"""Cuts small pictures out of a data set's: a box with what is around it, or a whole picture."""

import math
from collections.abc import Sequence

from PIL import Image, ImageDraw

from dyhead.visualization.boxes import DrawnBox, draw_boxes
from dyhead.visualization.colors import class_colors

ROOM = (260, 200)  # width and height of a crop in a page, pixels at most

_COLOR = class_colors(1)[0]
_BLACK = (0, 0, 0)
_MARGIN = 0.75  # around a box, over its longer side
_MIN_MARGIN = 24.0  # pixels
_EDGE = 8.0  # pixels that are shown beyond a box that leaves its picture
_MAX_ZOOM = 8.0
_OUTSIDE = (128, 128, 128)  # what is beyond the picture
_SMALL = 12.0  # pixels of the crop: boxes below that are pointed at

Region = tuple[float, float, float, float]  # XYXY in pixels of the picture


def draw_crop(
    picture: Image.Image,
    boxes: Sequence[Sequence[float]],
    room: tuple[int, int] = ROOM,
    whole: bool = False,
) -> Image.Image:
    """Cut out what is around boxes, and draw them; what lies beyond the picture is grey.

    Args:
        picture: in RGB.
        boxes: XYWH in pixels of the picture; those far away from it are not shown.
        room: width and height of the result, at most.
        whole: show all of the picture.
    """
    corners = [_corners(box) for box in boxes if all(map(math.isfinite, box))]
    near = [box for box in corners if _is_near(box, picture.size)]
    region: Region = (0.0, 0.0, float(picture.width), float(picture.height))
    if near and not whole:
        region = _around(near, picture.size)
    width, height = region[2] - region[0], region[3] - region[1]
    zoom = min(room[0] / width, room[1] / height, _MAX_ZOOM)
    shown = _cut(picture, region, zoom)
    left, top = region[:2]
    places = [
        (
            (box[0] - left) * zoom,
            (box[1] - top) * zoom,
            (box[2] - left) * zoom,
            (box[3] - top) * zoom,
        )
        for box in near
    ]
    crop = draw_boxes(shown, [DrawnBox(place, _COLOR) for place in places])
    _point_at_small_ones(crop, places)
    return crop


def _point_at_small_ones(crop: Image.Image, places: Sequence[Region]) -> None:
    """Draw a ring around boxes that could be overlooked, in place."""
    draw = ImageDraw.Draw(crop)
    for left, top, right, bottom in places:
        if max(right - left, bottom - top) < _SMALL:
            x, y = (left + right) / 2, (top + bottom) / 2
            for radius, color in ((_SMALL + 1, _BLACK), (_SMALL, _COLOR)):
                circle = (x - radius, y - radius, x + radius, y + radius)
                draw.ellipse(circle, outline=color, width=2)


def _corners(box: Sequence[float]) -> Region:
    """Return XYXY of a box whose width or height may be negative."""
    x, y, width, height = box
    return min(x, x + width), min(y, y + height), max(x, x + width), max(y, y + height)


def _is_near(box: Region, size: tuple[int, int]) -> bool:
    """Return True for a box that begins and ends less than a picture's size beyond the picture."""
    width, height = size
    return -width <= box[0] and box[2] <= 2 * width and -height <= box[1] and box[3] <= 2 * height


def _around(boxes: Sequence[Region], size: tuple[int, int]) -> Region:
    """Return boxes with a margin, and some of the picture where they do not touch it."""
    left, top = min(b[0] for b in boxes), min(b[1] for b in boxes)
    right, bottom = max(b[2] for b in boxes), max(b[3] for b in boxes)
    margin = max(_MARGIN * max(right - left, bottom - top), _MIN_MARGIN)
    left, right = _widened(left, right, size[0], margin)
    top, bottom = _widened(top, bottom, size[1], margin)
    return left, top, right, bottom


def _widened(first: float, last: float, length: int, margin: float) -> tuple[float, float]:
    """Widen a range, less so beyond the picture's edges; the result reaches into the picture."""
    first = max(first - margin, 0 if first >= 0 else first - _EDGE)
    last = min(last + margin, length if last <= length else last + _EDGE)
    return min(first, max(length - margin, 0)), max(last, min(margin, length))


def _cut(picture: Image.Image, region: Region, zoom: float) -> Image.Image:
    """Return a region of a picture, zoomed; the picture is cut before it is enlarged."""
    left, top, right, bottom = region
    size = (max(round((right - left) * zoom), 1), max(round((bottom - top) * zoom), 1))
    canvas = Image.new("RGB", size, _OUTSIDE)
    inner = (
        max(math.floor(left), 0),
        max(math.floor(top), 0),
        min(math.ceil(right), picture.width),
        min(math.ceil(bottom), picture.height),
    )
    if inner[2] <= inner[0] or inner[3] <= inner[1]:
        return canvas
    part = picture.crop(inner)
    target = (max(round(part.width * zoom), 1), max(round(part.height * zoom), 1))
    part = part.resize(target, Image.Resampling.LANCZOS)
    canvas.paste(part, (round((inner[0] - left) * zoom), round((inner[1] - top) * zoom)))
    return canvas
