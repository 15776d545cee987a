"""Reads what the header of a picture file says, without its pixels."""

from pathlib import Path
from typing import NamedTuple

from PIL import ImageFile

from dyhead.picture_files.depth import is_deep_colour, is_deep_grey
from dyhead.picture_files.opening import open_picture, picture_errors
from dyhead.picture_files.orientation import TRANSPOSED, find_orientation
from dyhead.picture_files.png_chunks import read_chunks

_IMAGE_WIDTH, _IMAGE_LENGTH = 256, 257  # tags of TIFF

Size = tuple[int, int]  # width, height


class Header(NamedTuple):
    """What a picture file says of itself."""

    stored: Size  # width and height in the file
    orientation: int  # EXIF's number; 1 is upright
    is_deep: bool  # more than 8 bits per channel
    num_bytes: int  # of the file

    @property
    def size(self) -> Size:
        """Width and height as shown, upright."""
        return self.stored[::-1] if self.orientation in TRANSPOSED else self.stored


def read_header(path: Path) -> Header | OSError:
    """Read the header of a picture file; an error is returned, not raised."""
    try:
        with picture_errors(), open_picture(path) as image:
            return _read(image, path)
    except OSError as error:
        return error


def _read(image: ImageFile.ImageFile, path: Path) -> Header:
    stored = image.size
    if image.format == "PNG":
        # read from the file, for Pillow finds what stands behind the pixels by decoding them
        assert image.fp is not None, "a file that was just opened"
        late_exif = read_chunks(image.fp).get(b"eXIf")
        if late_exif is not None:
            image.info["exif"] = b"Exif\0\0" + late_exif
    elif image.format == "TIFF":  # newer versions of Pillow give the size as turned
        tags = image.tag_v2  # type: ignore[attr-defined]
        stored = (tags[_IMAGE_WIDTH], tags[_IMAGE_LENGTH])
    orientation = find_orientation(image)
    is_deep = is_deep_grey(image) or is_deep_colour(image)
    return Header(stored, orientation, is_deep, path.stat().st_size)
