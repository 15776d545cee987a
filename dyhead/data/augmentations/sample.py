"""A training image with its objects as tensors, which mixing augmentations take and give."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torchvision.transforms.v2 import functional

from dyhead.d2.structures import Boxes, Instances
from dyhead.data.augmentations.visibility import clip_boxes, is_visible, visible_shares


@dataclass(frozen=True)
class Sample:
    """A training image and its objects; nothing changes it in place.

    Attributes:
        image: (C, H, W) uint8.
        boxes: (N, 4) float32, XYXY in pixels.
        classes: (N,) int64.
    """

    image: Tensor
    boxes: Tensor
    classes: Tensor

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return self.image.shape[-2], self.image.shape[-1]

    @classmethod
    def of(cls, mapped: Mapping[str, Any]) -> "Sample":
        """Take image, boxes and classes of a model's input."""
        instances = mapped["instances"]
        return cls(mapped["image"], instances.gt_boxes.tensor, instances.gt_classes)

    def replace_in(self, mapped: Mapping[str, Any]) -> dict[str, Any]:
        """Return a model's input with this image and these objects in the place of its own."""
        instances = Instances(self.size)
        instances.gt_boxes = Boxes(self.boxes)
        instances.gt_classes = self.classes
        return {**mapped, "image": self.image, "instances": instances}

    def resized(self, scale: float) -> "Sample":
        """Return it so many times as large, in whole pixels of at least one."""
        old = self.size
        height, width = (max(1, round(side * scale)) for side in old)
        if (height, width) == old:
            return self
        image = _resized(self.image, height, width)
        factors = self.boxes.new_tensor([width / old[1], height / old[0]] * 2)
        return Sample(image, self.boxes * factors, self.classes)

    def cut(self, region: tuple[int, int, int, int], least_visible: float) -> "Sample":
        """Return a part of it, with the boxes of which enough is left.

        Args:
            region: XYXY in pixels.
            least_visible: share of a box's area that has to lie in the region.
        """
        left, top, right, bottom = region
        boxes = clip_boxes(self.boxes, region)
        stays = is_visible(boxes, visible_shares(self.boxes, region), least_visible)
        origin = boxes.new_tensor([left, top] * 2)
        return Sample(
            self.image[:, top:bottom, left:right], boxes[stays] - origin, self.classes[stays]
        )

    def moved_boxes(self, left: int, top: int) -> Tensor:
        """Return the boxes as they lie where this sample's corner is put at (left, top)."""
        return self.boxes + self.boxes.new_tensor([left, top] * 2)


def _resized(image: Tensor, height: int, width: int) -> Tensor:
    if (height, width) == (1, 1):  # PyTorch's kernel for bytes fails for one pixel of three colours
        return functional.resize(image.float(), [1, 1], antialias=True).round().to(image.dtype)
    return functional.resize(image, [height, width], antialias=True)


def join_objects(image: Tensor, boxes: list[Tensor], classes: list[Tensor]) -> Sample:
    """Return a sample of an image that shows the objects of several."""
    return Sample(image, torch.cat(boxes), torch.cat(classes))
