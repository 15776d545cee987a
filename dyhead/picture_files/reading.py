"""Decodes picture files to 8 bits per channel, upright."""

import os

from PIL import Image, ImageFile

from dyhead.picture_files.depth import (
    grey_to_eight_bits,
    is_deep_colour,
    is_deep_grey,
    read_deep_colour,
)
from dyhead.picture_files.opening import PictureFile, open_picture, picture_errors
from dyhead.picture_files.orientation import find_orientation, turn


def read_upright(file: PictureFile, keep_depth: bool = False) -> Image.Image:
    """Read a picture file with 8 bits per channel (see `depth`), upright (see `orientation`).

    Args:
        file: a path, or an open file.
        keep_depth: leave deeper pixels as Pillow decodes them.

    Returns:
        A decoded picture of the file's own mode; of "L", "RGB" or "CMYK" for deeper ones.

    Raises:
        OSError: it cannot be read, or its values have no known range.
    """
    name = os.fspath(file) if isinstance(file, str | os.PathLike) else "The picture"
    with picture_errors(), open_picture(file) as image:
        if keep_depth:
            image.load()
            return turn(image, find_orientation(image))
        return upright(image, name)


def read_rgb(file: PictureFile) -> Image.Image | None:
    """Read a picture as training does, upright and in RGB; None where that is not possible."""
    try:
        return read_upright(file).convert("RGB")
    except OSError:
        return None


def upright(image: Image.Image, name: str = "The picture") -> Image.Image:
    """Bring an opened picture to 8 bits per channel, upright.

    Raises:
        OSError: as for `read_upright`.
    """
    with picture_errors():
        if is_deep_grey(image):
            image_of_8_bits = grey_to_eight_bits(image, name)
        elif isinstance(image, ImageFile.ImageFile) and image.fp and is_deep_colour(image):
            image_of_8_bits = read_deep_colour(image, image.fp, name)
        else:
            image.load()
            image_of_8_bits = image
        return turn(image_of_8_bits, find_orientation(image))
