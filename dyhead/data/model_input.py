"""Pictures as a detector takes them in evaluation: order of the channels, size."""

import numpy as np

from dyhead.d2.config import CfgNode
from dyhead.d2.data.transforms import ResizeShortestEdge
from dyhead.errors import UserError


def colour_order(cfg: CfgNode) -> str:
    """The order of channels that a detector takes: "BGR" or "RGB".

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
    """Height and width that `resize` gives a picture of this height and width."""
    if not min_size:
        return height, width
    return ResizeShortestEdge.get_output_shape(height, width, min_size, max_size)
