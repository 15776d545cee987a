"""The interface of `Detector` to the models that compute: PyTorch's and ONNX's."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np


class RawDetections(NamedTuple):
    """The objects found in one picture."""

    boxes: np.ndarray  # (N, 4), float32, XYXY in pixels of the picture as it was given
    scores: np.ndarray  # (N,), float32, from 0 to 1
    class_ids: np.ndarray  # (N,), int64, indices from 0


class Runner(Protocol):
    """Detects objects in pictures; `Detector` reads them, and forms batches.

    Attributes:
        class_names: in the order of the class indices; empty where unknown.
        category_ids: the data set's ids of the same classes; empty where unknown.
        input_format: the order of channels that it takes, "BGR" or "RGB".
        min_size: to how many pixels the shorter side is resized; 0 leaves pictures as they are.
        max_size: how many pixels the longer side has at most.
    """

    class_names: tuple[str, ...]
    category_ids: tuple[int | str, ...]
    input_format: str
    min_size: int
    max_size: int

    def __call__(self, images: Sequence[np.ndarray]) -> list[RawDetections]:
        """Detect in a batch; each picture gets what it would get alone.

        Args:
            images: (H, W, 3) each, uint8, in `input_format`, of the original sizes, upright.
        """
        ...
