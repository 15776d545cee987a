"""A detector that finds bright rectangles exactly, and pictures of them."""

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from dyhead.d2.modeling.postprocessing import detector_postprocess
from dyhead.d2.structures import Boxes, Instances

# In pixels of the image, XYXY; even, so that halving the image keeps the edges between pixels.
SMALL, LARGE = [4.0, 6, 12, 14], [28.0, 4, 60, 36]  # sizes 8 and 32
HEIGHT, WIDTH = 48, 64


class RectangleFinder(nn.Module):
    """Finds the bright rectangle of each channel, whose index is the class, and records its inputs.

    The score is `scores[length of the view's shorter side]`, 0.5 by default.
    """

    test_nms_thresh = 0.6

    def __init__(self, scores: dict[int, float] | None = None) -> None:
        super().__init__()
        self.scores = scores or {}
        self.images: list[Tensor] = []
        self.eval()

    def forward(self, batch: list[dict[str, Any]]) -> list[dict[str, Instances]]:
        """Find them in every input."""
        return [{"instances": self.find(x)} for x in batch]

    def find(self, x: dict[str, Any]) -> Instances:
        """Find the rectangles of one input, in pixels of its height and width."""
        image = x["image"]
        self.images.append(image)
        found = [(c, plane) for c, plane in enumerate(image > 127) if plane.any()]
        size = (image.shape[1], image.shape[2])
        instances = Instances(
            size,
            pred_boxes=Boxes(torch.tensor([extent(plane) for _, plane in found]).reshape(-1, 4)),
            scores=torch.full((len(found),), self.scores.get(min(size), 0.5)),
            pred_classes=torch.tensor([c for c, _ in found], dtype=torch.int64),
        )
        return detector_postprocess(instances, x["height"], x["width"])


def extent(plane: Tensor) -> list[float]:
    """XYXY in pixels of what a mask (H, W) holds."""
    rows, columns = plane.any(dim=1).nonzero(), plane.any(dim=0).nonzero()
    corners = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
    return [float(corner) for corner in corners]


def draw(*rectangles: list[float]) -> np.ndarray:
    """An RGB image with one rectangle per channel."""
    image = np.zeros((HEIGHT, WIDTH, 3), dtype=np.uint8)
    for channel, (x1, y1, x2, y2) in enumerate(rectangles):
        image[int(y1) : int(y2), int(x1) : int(x2), channel] = 255
    return image
