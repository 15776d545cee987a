"""The sizes of a feature map that modules tell each other."""

from dataclasses import dataclass
from typing import Any


@dataclass
class ShapeSpec:
    """Shape of a feature map: integers, or None where a size is unknown or of no interest.

    `stride` is the number of input pixels per position of the feature map.
    """

    # not `int | None`: whoever reads a size knows that the module which made it has set it
    channels: Any = None
    height: Any = None
    width: Any = None
    stride: Any = None
