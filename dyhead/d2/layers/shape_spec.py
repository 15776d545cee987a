"""What one module tells another about the tensors it takes or gives."""

from dataclasses import dataclass


@dataclass
class ShapeSpec:
    """Shape of a feature map; None where it is unknown or of no interest.

    `stride` is the number of input pixels per position of the feature map.
    """

    channels: int | None = None
    height: int | None = None
    width: int | None = None
    stride: int | None = None
