"""Brings pixels of more than 8 bits per channel to 8, by a rule that keeps their levels.

Whole numbers keep their highest 8 bits. Of how many bits these are the highest, the file says
(PNG's sBIT, TIFF's BitsPerSample and MaxSampleValue), where that is less than the file's numbers
could hold. Else it is the least of 8, 12, 16, 24 and 32 that holds the picture's highest value: so
the 12-bit values of cameras in 16-bit files keep 256 levels. Few and large steps, because all
pictures of a camera should be scaled alike: with 12 and 16 bits only one without a pixel above a
sixteenth of the range is not.
"""

import logging
import sys
from typing import Any

import numpy as np
from PIL import Image, ImageFile

from dyhead.picture_files.opening import PictureError, PictureFile, open_picture
from dyhead.picture_files.png_chunks import read_chunks

_STEPS = (8, 12, 16, 24, 32)  # bits
_BITS_PER_SAMPLE, _PHOTOMETRIC, _MAX_SAMPLE_VALUE = 258, 262, 281  # tags of TIFF
_WHITE_IS_ZERO = 0
_FEW_LEVELS = 16  # of 256: most of what the pixels tell is lost

# Pillow reads the high bytes of 16-bit colours alone. Of each of its ways to unpack them, the one
# that reads the low bytes of the same numbers; "16N" is the machine's own order of bytes.
_OTHER_ORDER = {"16B": "16L", "16L": "16B", "16N": "16B" if sys.byteorder == "little" else "16L"}

logger = logging.getLogger(__name__)


def is_deep_grey(image: Image.Image) -> bool:
    """Tell if a picture has one channel of more than 8 bits."""
    return image.mode in ("I", "F") or image.mode.startswith("I;16")


def is_deep_colour(image: Image.Image) -> bool:
    """Tell if the file of a picture, whose pixels are not decoded yet, has 16 bits per colour."""
    return not is_deep_grey(image) and any(";16" in _raw_mode(t) for t in _tiles(image))


def grey_to_eight_bits(image: Image.Image, name: str) -> Image.Image:
    """Scale a picture of one deep channel to the mode "L", by the rule above.

    Floating-point values have to be from 0 to 1, and become 0 to 255. TIFF files whose lowest value
    is white are turned round, which Pillow does with 8 bits alone.

    Args:
        image: opened or decoded.
        name: for messages.

    Raises:
        PictureError: a value is negative, or no number, or a floating-point one above 1.
    """
    declared = _declared_bits(image)
    image.load()  # first, for it may turn the picture
    values = np.asarray(image)
    is_float = image.mode == "F"
    pixels = _from_fractions(values) if is_float else _highest_bits(values, declared, name)
    return Image.fromarray(255 - pixels if _has_white_zero(image) else pixels)


def read_deep_colour(image: ImageFile.ImageFile, file: PictureFile, name: str) -> Image.Image:
    """Decode a picture of 16 bits per colour and scale it to the mode "RGB", "CMYK", or "L".

    Args:
        image: opened, with `is_deep_colour`; it is decoded here, and holds EXIF afterwards.
        file: what it was opened from.
        name: for messages.

    Raises:
        PictureError: its order of bytes is not known.
    """
    has_grey = any(_raw_mode(tile).startswith("LA") for tile in _tiles(image))
    declared = _declared_bits(image)
    with open_picture(file) as again:
        if page := image.tell():
            again.seek(page)
        again.tile = [_low_bytes(tile) for tile in _tiles(again)]
        again.load()
        low = np.asarray(again)
    image.load()
    high = np.asarray(image)
    num_colours = 1 if has_grey else 4 if image.mode == "CMYK" else 3  # what follows is opacity
    # "LA" unpacked as if it were RGBA has the low byte of grey in its second channel
    low = low[:, :, 1:2] if has_grey else low[:, :, :num_colours]
    values = (high[:, :, :num_colours].astype(np.uint16) << 8) | low
    channels = [
        Image.fromarray(each) for each in np.moveaxis(_highest_bits(values, declared, name), 2, 0)
    ]
    return Image.merge({1: "L", 3: "RGB", 4: "CMYK"}[num_colours], channels)


def _highest_bits(values: np.ndarray, declared: int | None, name: str) -> np.ndarray:
    """Keep the highest 8 bits, uint8, of the bits that are declared or in use."""
    lowest, highest = int(values.min()), int(values.max())
    if lowest < 0:
        raise PictureError(
            f"its values go from {lowest} to {highest}, of which it is not known what is black and"
            " what is white: scale them to 0 to 255, and save 8 bits"
        )
    bits = next(step for step in _STEPS if highest < 1 << step)
    if declared is not None and highest < 1 << declared:
        bits = declared
    pixels = np.right_shift(values, bits - 8).astype(np.uint8)
    levels = (highest >> (bits - 8)) - (lowest >> (bits - 8)) + 1
    if levels < min(_FEW_LEVELS, (highest - lowest) // 4):
        logger.warning(
            "%s: of its values, %d to %d of %d bits, at most %d levels are left with 8 bits: scale"
            " such pictures to 0 to 255 yourself, all of them alike.",
            *(name, lowest, highest, bits, levels),
        )
    return pixels


def _from_fractions(values: np.ndarray) -> np.ndarray:
    lowest, highest = float(values.min()), float(values.max())
    if not (lowest >= 0 and highest <= 1):  # no number is neither
        raise PictureError(
            f"its floating-point values go from {lowest:g} to {highest:g}, not from 0 to 1: scale"
            " them to 0 to 255, and save 8 bits"
        )
    return np.round(255 * values).astype(np.uint8)


def _declared_bits(image: Image.Image) -> int | None:
    """Find the bits that a file's values have, where that is less than they could have."""
    file = getattr(image, "fp", None)  # None when the pixels are decoded
    if image.format == "PNG" and file is not None:
        position = file.tell()
        bits = max(read_chunks(file).get(b"sBIT", b"\0"))
        file.seek(position)
    elif image.format == "TIFF":
        tags: Any = image.tag_v2  # type: ignore[attr-defined]
        highest = tags.get(_MAX_SAMPLE_VALUE, 0)
        highest = max(highest) if isinstance(highest, tuple) else highest
        bits = int(highest).bit_length() or max(tags.get(_BITS_PER_SAMPLE, (0,)))
    else:
        return None
    return bits if 8 < bits < 16 else None


def _has_white_zero(image: Image.Image) -> bool:
    tags: Any = getattr(image, "tag_v2", {})
    return image.format == "TIFF" and tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO


def _tiles(image: Image.Image) -> list[Any]:
    return list(getattr(image, "tile", []))


def _raw_mode(tile: Any) -> str:
    """Return the name of the way in which a part of a file is unpacked."""
    arguments = tile[3]
    raw_mode = arguments[0] if isinstance(arguments, tuple) and arguments else arguments
    return raw_mode if isinstance(raw_mode, str) else ""


def _low_bytes(tile: Any) -> Any:
    """Return a part of a file as one that is unpacked to the low bytes of its numbers."""
    channels, _, order = _raw_mode(tile).partition(";")
    if channels == "LA":
        raw_mode = "RGBA"
    elif order in _OTHER_ORDER:
        raw_mode = f"{channels};{_OTHER_ORDER[order]}"
    else:
        raise PictureError(f"its 16-bit colours are stored in an unknown way ({channels};{order})")
    arguments = (raw_mode, *tile[3][1:]) if isinstance(tile[3], tuple) else raw_mode
    return tile._replace(args=arguments) if hasattr(tile, "_replace") else (*tile[:3], arguments)
