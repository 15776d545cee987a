"""Turns pictures upright as their EXIF says, once, and boxes with them."""

import logging
from collections.abc import Sequence

from PIL import ExifTags, Image

TRANSPOSED = (5, 6, 7, 8)  # orientations that swap width and height

# What turns a picture upright, by EXIF's number for its orientation. Not ImageOps.exif_transpose:
# that rewrites the EXIF block too, and fails on damaged ones.
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

_SAYS_IT = ("exif", "Raw profile type exif", "xmp", "XML:com.adobe.xmp")  # keys of an image's info

logger = logging.getLogger(__name__)


def find_orientation(image: Image.Image) -> int:
    """Return EXIF's number for how a picture is stored, 1 where it is upright or unknown.

    Pillow turns TIFF files itself when it decodes them, and takes the number away: ask before that
    about the file, and after it about the pixels.
    """
    try:
        # not the method of PNG, which decodes the pixels
        orientation = Image.Image.getexif(image).get(ExifTags.Base.Orientation, 1)
    except Exception as error:  # Pillow raises errors of many kinds on damaged blocks
        logger.warning("Ignoring a damaged EXIF block: %s", error)
        return 1
    return orientation if orientation in _UPRIGHT else 1


def turn(image: Image.Image, orientation: int) -> Image.Image:
    """Turn a picture upright that is stored with this orientation, and take its EXIF away."""
    if orientation not in _UPRIGHT:
        return image
    turned = image.transpose(_UPRIGHT[orientation])
    turned.info = {key: value for key, value in turned.info.items() if key not in _SAYS_IT}
    return turned


def turn_point(
    x: float, y: float, orientation: int, stored: tuple[float, float]
) -> tuple[float, float]:
    """Turn a point with its picture.

    Args:
        x: in pixels of the picture as stored.
        y: the same.
        orientation: EXIF's number.
        stored: width and height of the picture as stored.

    Returns:
        (x, y) in pixels of the upright picture.
    """
    if orientation in (2, 3, 7, 8):
        x = stored[0] - x
    if orientation in (3, 4, 6, 7):
        y = stored[1] - y
    return (y, x) if orientation in TRANSPOSED else (x, y)


def turn_box(box: Sequence[float], orientation: int, stored: tuple[float, float]) -> list[float]:
    """Turn an XYWH box with its picture; see `turn_point`."""
    x, y, width, height = box
    corners = [turn_point(a, b, orientation, stored) for a, b in ((x, y), (x + width, y + height))]
    (left, right), (top, bottom) = (sorted(values) for values in zip(*corners, strict=True))
    return [left, top, right - left, bottom - top]
