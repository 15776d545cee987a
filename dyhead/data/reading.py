"""Reads pictures alike on both hosts; genuine Detectron2's own function clips deep pixels."""

import numpy as np

from dyhead.d2.data.detection_utils import convert_PIL_to_numpy
from dyhead.d2.utils.file_io import PathManager
from dyhead.picture_files import read_upright


def read_image(file_name: str, format: str) -> np.ndarray:
    """Read an image with 8 bits per channel, upright: see `dyhead.picture_files`.

    Args:
        file_name: path of the image.
        format: "BGR", "L", or a mode of PIL such as "RGB".

    Returns:
        (H, W, C), uint8.

    Raises:
        OSError: it cannot be read, or its values have no known range.
    """
    return convert_PIL_to_numpy(read_upright(PathManager.get_local_path(file_name)), format)
