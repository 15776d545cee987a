"""Pictures that a program holds as arrays, as what a detector takes."""

from typing import Any

import numpy as np

_WANTED = "give a uint8 array of shape (H, W, 3) in BGR order, (H, W, 4) in BGRA, or (H, W) in grey"


def as_bgr(picture: Any) -> np.ndarray:
    """Bring what OpenCV and imageio give into one form.

    Args:
        picture: uint8, (H, W, 3) in BGR order, (H, W, 4) BGRA (its opacity is left out), or
            (H, W) or (H, W, 1) grey.

    Returns:
        (H, W, 3), uint8, BGR.

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
