"""Reads pictures: files, addresses, PIL images, arrays and tensors to pixels for a detector.

Shape letters: H x W pixels, C channels.
"""

import io
import logging
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from dyhead.d2.data.detection_utils import read_image
from dyhead.data.model_input import three_channels
from dyhead.errors import UserError, user_errors
from dyhead.safe_io.addresses import fetch, is_web_address

PictureSource = str | os.PathLike[str] | Image.Image | np.ndarray | torch.Tensor
ChannelOrder = Literal["BGR", "RGB"]

_DEEP_MODES = ("F", "I", "I;16", "I;16B", "I;16L", "I;16N")  # more than 8 bits per channel

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Picture:
    """A picture that was read.

    Attributes:
        pixels: (H, W, 3), uint8, upright.
        order: that of their channels.
        file_name: the path or address that was given, if any.
        given: what the pixels were read from, and can be read from again.
        given_order: that of its channels, where it is an array or a tensor.
    """

    pixels: np.ndarray
    order: str
    file_name: str | None
    given: PictureSource
    given_order: ChannelOrder = "BGR"

    @property
    def size(self) -> tuple[int, int]:
        """The size as (height, width), in pixels."""
        return self.pixels.shape[0], self.pixels.shape[1]

    def as_image(self) -> Image.Image:
        """Convert the picture to a PIL image, RGB."""
        return Image.fromarray(_in_order(self.pixels, self.order, "RGB"))


def is_picture(value: Any) -> bool:
    """Tell if `value` is one picture rather than several."""
    return isinstance(value, str | os.PathLike | Image.Image | np.ndarray | torch.Tensor)


def read_picture(
    given: PictureSource, given_order: ChannelOrder = "BGR", wanted_order: str = "BGR"
) -> Picture:
    """Read one picture.

    Args:
        given: a path or an http(s) address; a PIL image; an array, uint8, of the shape (H, W),
            (H, W, 1), (H, W, 3) or (H, W, 4), whose last channel is left out as opacity; or a
            tensor, uint8, of the shape (H, W) or (C, H, W). Files and PIL images are turned upright
            where their EXIF says how.
        given_order: that of the channels of arrays and tensors. OpenCV and Detectron2 give "BGR".
        wanted_order: that of the result.

    Raises:
        UserError: it cannot be read, or its pixels are no 8-bit values.
    """
    file_name = os.fspath(given) if isinstance(given, str | os.PathLike) else None
    if isinstance(given, str) and is_web_address(given):
        with user_errors():
            given = _open(io.BytesIO(fetch(given)), given)
    if isinstance(given, str | os.PathLike):
        pixels = _read_file(Path(given), wanted_order)
    elif isinstance(given, Image.Image):
        pixels = _read_image(given, wanted_order, file_name)
    elif isinstance(given, torch.Tensor):
        pixels = _in_order(_read_tensor(given), given_order, wanted_order)
    elif isinstance(given, np.ndarray):
        pixels = _in_order(_read_array(given), given_order, wanted_order)
    else:
        raise UserError(
            f"A picture cannot be a {type(given).__name__}: give a path, a PIL image, an array or a"
            " tensor."
        )
    return Picture(pixels, wanted_order, file_name, given, given_order)


def _read_file(path: Path, wanted_order: str) -> np.ndarray:
    """Read the pixels of a file, as training reads it."""
    if path.is_dir():
        raise UserError(f"{path} is a folder: give its pictures, or use `dyhead predict`.")
    if not path.exists():
        raise UserError(f"{path} does not exist: check the path.")
    with _open(path, str(path)) as image:
        _check_depth(image, str(path))
        _warn_of_more(image, str(path))
    try:
        return read_image(str(path), format=wanted_order)
    except Exception as error:  # Pillow raises errors of many kinds on damaged files
        raise _unreadable(str(path), error) from error


def _read_image(image: Image.Image, wanted_order: str, name: str | None) -> np.ndarray:
    _check_depth(image, name or "The PIL image")
    try:
        pixels = np.asarray(_upright(image.convert("RGB"), image))
    except Exception as error:  # as above: PIL images are decoded when they are used
        raise _unreadable(name or "The PIL image", error) from error
    return _in_order(pixels, "RGB", wanted_order)


def _open(file: Any, name: str) -> Image.Image:
    try:
        return Image.open(file)
    except Exception as error:
        raise _unreadable(name, error) from error


def _unreadable(name: str, error: Exception) -> UserError:
    reason = " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, UnidentifiedImageError):  # its message is about a Python object
        reason = "no picture of a known format"
    return UserError(f"{name} can't be read ({reason}).")


def _check_depth(image: Image.Image, name: str) -> None:
    if image.mode in _DEEP_MODES:
        raise UserError(
            f"{name} has pixels of more than 8 bits (Pillow's mode {image.mode!r}): scale them to 0"
            " to 255 and save them with 8 bits, as the pictures for training were."
        )


def _warn_of_more(image: Image.Image, name: str) -> None:
    """Warn that only the first picture of a file is read; phones hide a second one in MPO."""
    if getattr(image, "is_animated", False) and image.format != "MPO":
        logger.warning("%s holds several pictures: only the first one is read.", name)


def _upright(image: Image.Image, source: Image.Image) -> Image.Image:
    """Turn an image as the EXIF of `source` says.

    Pillow's own function rewrites the EXIF block too, and fails on damaged ones: it gets a block
    with the orientation alone.
    """
    try:
        orientation = source.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception as error:  # Pillow raises errors of many kinds on damaged blocks
        logger.warning("Ignoring a damaged EXIF block: %s", error)
        return image
    if orientation not in range(2, 9):
        return image
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    bare = image.copy()
    bare.info = {"exif": exif.tobytes()}
    return ImageOps.exif_transpose(bare)


def _read_tensor(tensor: torch.Tensor) -> np.ndarray:
    """Convert a tensor (C, H, W) or (H, W) to an array (H, W, 3)."""
    if tensor.dtype != torch.uint8:
        raise UserError(_wrong_type(str(tensor.dtype), "(255 * x).round().to(torch.uint8)"))
    shape = tuple(tensor.shape)
    if len(shape) == 3 and shape[0] not in (1, 3, 4):
        raise UserError(f"A tensor of the shape {shape} is no picture: give (3, height, width).")
    array = tensor.detach().cpu().numpy()
    return _read_array(array.transpose(1, 2, 0) if len(shape) == 3 else array)


def _read_array(array: np.ndarray) -> np.ndarray:
    """Convert an array (H, W) or (H, W, C) to (H, W, 3), in its own order of channels."""
    if array.dtype != np.uint8:
        raise UserError(_wrong_type(str(array.dtype), "(255 * x).round().astype('uint8')"))
    if array.ndim == 4:
        raise UserError(f"{len(array)} pictures in one array: give them as a list, list(x).")
    with user_errors():
        return three_channels(array)


def _wrong_type(dtype: str, fix: str) -> str:
    return (
        f"Pixels of the type {dtype} have no agreed range: give uint8, 0 to 255, for values from 0"
        f" to 1 {fix}."
    )


def _in_order(pixels: np.ndarray, given_order: str, wanted_order: str) -> np.ndarray:
    return pixels if given_order == wanted_order else pixels[:, :, ::-1]
