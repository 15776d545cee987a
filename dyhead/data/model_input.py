"""Brings pictures into the form that a detector takes in evaluation: channels, type, size."""

from typing import Any

import numpy as np

from dyhead.d2.config import CfgNode
from dyhead.data.resizing import ResizeShortestEdge
from dyhead.errors import UserError

_WANTED = "give a uint8 array of shape (H, W, 3) in BGR order, (H, W, 4) in BGRA, or (H, W) in grey"


def colour_order(cfg: CfgNode) -> str:
    """Return the order of channels that a detector takes: "BGR" or "RGB".

    Raises:
        UserError: INPUT.FORMAT is another one, such as grey.
    """
    if cfg.INPUT.FORMAT not in ("BGR", "RGB"):
        raise UserError(f"INPUT.FORMAT is {cfg.INPUT.FORMAT!r}: make it 'BGR' or 'RGB'.")
    return str(cfg.INPUT.FORMAT)


def resize(picture: np.ndarray, min_size: int, max_size: int) -> np.ndarray:
    """Resize a picture as in evaluation, with its ratio of height to width.

    Args:
        picture: (H, W, C), uint8.
        min_size: INPUT.MIN_SIZE_TEST, pixels of the shorter side; 0 leaves it as it is.
        max_size: INPUT.MAX_SIZE_TEST, highest number of pixels of the longer side.
    """
    transform = ResizeShortestEdge([min_size, min_size], max_size).get_transform(picture)
    return np.asarray(transform.apply_image(picture))


def resized_size(height: int, width: int, min_size: int, max_size: int) -> tuple[int, int]:
    """Return height and width that `resize` gives a picture of this height and width."""
    if not min_size:
        return height, width
    return ResizeShortestEdge.get_output_shape(height, width, min_size, max_size)


def three_channels(picture: Any) -> np.ndarray:
    """Bring a picture to three channels: grey is repeated, opacity is left out.

    Args:
        picture: uint8, (H, W, 3) in any order, (H, W, 4) with its opacity last, or (H, W) or
            (H, W, 1) grey.

    Returns:
        (H, W, 3), uint8, in the order of `picture`.

    Raises:
        TypeError: it is no array, or not of uint8.
        ValueError: it is of another shape, or empty.
    """
    if not isinstance(picture, np.ndarray):
        raise TypeError(
            f"The picture is no array, but of the type {type(picture).__name__}: {_WANTED}, as"
            " cv2.imread does."
        )
    if picture.dtype != np.uint8:
        raise TypeError(
            f"The picture is of {picture.dtype}, which may mean values up to 1 or up to 255:"
            f" {_WANTED}."
        )
    grey = picture.ndim == 2 or (picture.ndim == 3 and picture.shape[2] == 1)
    if not picture.size or not (grey or (picture.ndim == 3 and picture.shape[2] in (3, 4))):
        raise ValueError(f"The picture is of shape {picture.shape}: {_WANTED}.")
    if grey:
        return np.repeat(picture.reshape(*picture.shape[:2], 1), 3, axis=2)
    return picture[:, :, :3]
