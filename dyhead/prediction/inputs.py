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
from PIL import Image, UnidentifiedImageError

from dyhead.data.model_input import three_channels
from dyhead.data.reading import read_image
from dyhead.errors import UserError, user_errors
from dyhead.picture_files import open_picture, read_upright, upright
from dyhead.safe_io.addresses import fetch, is_web_address

PictureSource = str | os.PathLike[str] | Image.Image | np.ndarray | torch.Tensor
ChannelOrder = Literal["BGR", "RGB"]

_CONTENTS = bytes | bytearray | memoryview | io.IOBase  # of files: refused, with the way out

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
    """Tell if `value` is one picture rather than several, or is meant as one."""
    kinds = str | os.PathLike | Image.Image | np.ndarray | torch.Tensor | _CONTENTS
    return isinstance(value, kinds)


def read_picture(
    given: PictureSource, given_order: ChannelOrder = "BGR", wanted_order: str = "BGR"
) -> Picture:
    """Read one picture.

    Args:
        given: a path or an http(s) address; a PIL image; an array, uint8, of the shape (H, W),
            (H, W, 1), (H, W, 3) or (H, W, 4), whose last channel is left out as opacity; or a
            tensor, uint8, of the shape (H, W) or (C, H, W). Files and PIL images are turned upright
            where their EXIF says how, and scaled to 8 bits where they have more, as in training.
        given_order: that of the channels of arrays and tensors. OpenCV and Detectron2 give "BGR".
        wanted_order: that of the result.

    Raises:
        UserError: it cannot be read, or its values have no known range.
    """
    file_name = os.fspath(given) if isinstance(given, str | os.PathLike) else None
    if isinstance(given, str) and is_web_address(given):
        given = _fetch_image(given)
    if isinstance(given, str | os.PathLike):
        pixels = _read_file(Path(given), wanted_order)
    elif isinstance(given, Image.Image):
        pixels = _read_image(given, wanted_order, file_name)
    elif isinstance(given, torch.Tensor):
        pixels = _in_order(_read_tensor(given), given_order, wanted_order)
    elif isinstance(given, np.ndarray):
        pixels = _in_order(_read_array(given), given_order, wanted_order)
    elif isinstance(given, _CONTENTS):
        raise UserError(
            "The content of a file is no picture yet: give PIL.Image.open(file), and for bytes"
            " PIL.Image.open(io.BytesIO(content))."
        )
    else:
        raise UserError(
            f"A picture cannot be a {type(given).__name__}: give a path, a PIL image, an array or a"
            " tensor."
        )
    return Picture(pixels, wanted_order, file_name, given, given_order)


def _fetch_image(address: str) -> Image.Image:
    with user_errors():
        content = io.BytesIO(fetch(address))
    try:
        return read_upright(content)
    except OSError as error:
        raise _unreadable(address, error) from error


def _read_file(path: Path, wanted_order: str) -> np.ndarray:
    """Read the pixels of a file, as training reads it."""
    if path.is_dir():
        raise UserError(f"{path} is a folder: give its pictures, or use `dyhead predict`.")
    if not path.exists():
        raise UserError(f"{path} does not exist: check the path.")
    try:
        with open_picture(path) as image:
            _warn_of_more(image, str(path))
        return read_image(str(path), format=wanted_order)
    except OSError as error:
        raise _unreadable(str(path), error) from error


def _read_image(image: Image.Image, wanted_order: str, name: str | None) -> np.ndarray:
    name = name or "The PIL image"
    try:  # PIL images are decoded when they are used
        pixels = np.asarray(upright(image, name).convert("RGB"))
    except OSError as error:
        raise _unreadable(name, error) from error
    return _in_order(pixels, "RGB", wanted_order)


def _unreadable(name: str, error: Exception) -> UserError:
    reason = " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, UnidentifiedImageError):  # its message is about a Python object
        reason = "no picture of a known format"
    return UserError(f"{name} can't be read ({reason}).")


def _warn_of_more(image: Image.Image, name: str) -> None:
    """Warn that only the first picture of a file is read; phones hide a second one in MPO."""
    if getattr(image, "is_animated", False) and image.format != "MPO":
        logger.warning("%s holds several pictures: only the first one is read.", name)


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
