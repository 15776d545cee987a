"""Opens picture files: regular files alone, of no more pixels than are allowed."""

import os
import stat
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

from PIL import Image, ImageFile

from dyhead.errors import UserError

PictureFile = str | os.PathLike[str] | IO[bytes]

_SPECIAL_FILES = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


class PictureError(OSError):
    """A file that cannot be used as a picture; the message says why."""


def open_picture(file: PictureFile) -> ImageFile.ImageFile:
    """Open a picture file; its pixels are decoded later.

    Args:
        file: a path, or an open file.

    Raises:
        OSError: it is missing, no regular file, no picture, or has too many pixels. Pipes and
            devices are not opened: reading them might never end.
    """
    if isinstance(file, str | os.PathLike):
        with picture_errors():  # a name may have characters that no file can have
            kind = stat.S_IFMT(os.stat(file).st_mode)
        if kind != stat.S_IFREG:
            raise PictureError(f"it is {_SPECIAL_FILES.get(kind, 'something else')}, no file")
    with picture_errors():
        image = Image.open(file)
    if image.format == "TIFF":
        image.filename = ""  # else grey ones are mapped into memory as if they had been turned
    return image


@contextmanager
def picture_errors() -> Iterator[None]:
    """Turn what Pillow raises on damaged files, errors of many kinds, into `PictureError`.

    Raises:
        OSError: in place of any error from the body.
    """
    try:
        yield
    except OSError:
        raise
    except Image.DecompressionBombError as error:
        reason = str(error).partition(", could be")[0]
        raise PictureError(
            f"{reason}: if you trust the file, set INPUT.MAX_PIXELS to its number of pixels"
        ) from error
    except Exception as error:
        raise PictureError(" ".join(str(error).split()) or type(error).__name__) from error


def allow_pixels(max_pixels: int) -> None:
    """Set the largest picture that this process opens.

    Args:
        max_pixels: INPUT.MAX_PIXELS, width times height; 0 leaves Pillow's own limit.

    Raises:
        UserError: it is negative.
    """
    if max_pixels < 0:
        raise UserError(f"INPUT.MAX_PIXELS is {max_pixels}: make it 0 (Pillow's limit) or more.")
    if max_pixels:
        Image.MAX_IMAGE_PIXELS = -(-max_pixels // 2)  # Pillow refuses from twice this on
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
