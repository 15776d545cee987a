"""Features of boxes from the level of a pyramid that suits their size.

Shapes: N images, C channels, H x W positions, R boxes of all images together.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ..layers import ROIAlign, cat, nonzero_tuple
from ..structures import Boxes

# Whether positions stand for the centres of their pixels.
ALIGNED_OF_TYPE = {"ROIAlign": False, "ROIAlignV2": True}


def assign_boxes_to_levels(
    box_lists: list[Boxes],
    min_level: int,
    max_level: int,
    canonical_box_size: int,
    canonical_level: int,
) -> Tensor:
    """Choose a level of the pyramid for each box (FPN, arXiv:1612.03144, equation 1).

    Args:
        box_lists: boxes of each image; at least one image.
        min_level: finest level, as the logarithm of its stride to base 2.
        max_level: coarsest level.
        canonical_box_size: square root of a box's area in pixels that belongs to ...
        canonical_level: ... this level; twice the size belongs one level higher.

    Returns:
        (R,) int64 levels, counted from `min_level`.
    """
    sizes = cat([boxes.area() for boxes in box_lists]).sqrt()
    # The small number keeps boxes without area on the finest level.
    above_canonical = torch.log2(sizes / canonical_box_size + 1e-8)
    levels = torch.floor(canonical_level + above_canonical).clamp(min_level, max_level)
    return levels.long() - min_level


def convert_boxes_to_pooler_format(box_lists: list[Boxes]) -> Tensor:
    """(R, 5): index of each box's image, then its x0, y0, x1, y1."""
    boxes = torch.cat([boxes.tensor for boxes in box_lists])
    counts = torch.tensor([len(boxes) for boxes in box_lists], device=boxes.device)
    images = torch.arange(len(counts), device=boxes.device).repeat_interleave(counts)
    return torch.cat([images[:, None].to(boxes.dtype), boxes], dim=1)


class ROIPooler(nn.Module):
    """Pool each box from one feature map out of one or several."""

    def __init__(
        self,
        output_size: int | Sequence[int],
        scales: Sequence[float],
        sampling_ratio: int,
        pooler_type: str,
        canonical_box_size: int = 224,
        canonical_level: int = 4,
    ) -> None:
        """Set how boxes are pooled.

        Args:
            output_size: side, or height and width, of each pooled box.
            scales: 1 / stride of each feature map, finest first, each half of the one before.
            sampling_ratio: see `ROIAlign`.
            pooler_type: "ROIAlignV2", or "ROIAlign" for the operator's first version.
            canonical_box_size: see `assign_boxes_to_levels`.
            canonical_level: likewise.

        Raises:
            ValueError: the type is not served, or an argument does not fit its description.
        """
        super().__init__()
        if pooler_type not in ALIGNED_OF_TYPE:
            raise ValueError(
                f"POOLER_TYPE={pooler_type!r} is not in the embedded host: use 'ROIAlignV2' or"
                " 'ROIAlign', or run with genuine Detectron2."
            )
        self.output_size = size_of_output(output_size)
        self.level_poolers = nn.ModuleList(
            ROIAlign(self.output_size, scale, sampling_ratio, ALIGNED_OF_TYPE[pooler_type])
            for scale in scales
        )
        self.min_level, self.max_level = levels_of(scales)
        if canonical_box_size <= 0:
            raise ValueError(f"canonical_box_size is {canonical_box_size}: use pixels above 0.")
        self.canonical_box_size = canonical_box_size
        self.canonical_level = canonical_level

    def forward(self, x: list[Tensor], box_lists: list[Boxes]) -> Tensor:
        """Pool boxes.

        Args:
            x: (N, C, H_l, W_l) for each scale.
            box_lists: boxes in pixels of each of the N images.

        Returns:
            (R, C, *output_size), images one after the other.

        Raises:
            ValueError: there are not as many feature maps as scales, or lists of boxes as images.
        """
        check_counts(x, box_lists, len(self.level_poolers))
        if not box_lists:
            return x[0].new_zeros(0, x[0].shape[1], *self.output_size)
        rois = convert_boxes_to_pooler_format(box_lists)
        if len(self.level_poolers) == 1:
            return self.level_poolers[0](x[0], rois)
        levels = assign_boxes_to_levels(
            box_lists, self.min_level, self.max_level, self.canonical_box_size, self.canonical_level
        )
        return self._pool_by_level(x, rois, levels)

    def _pool_by_level(self, x: list[Tensor], rois: Tensor, levels: Tensor) -> Tensor:
        pooled = x[0].new_zeros(len(rois), x[0].shape[1], *self.output_size)
        for level, (feature, pooler) in enumerate(zip(x, self.level_poolers, strict=True)):
            chosen = nonzero_tuple(levels == level)
            # Also without boxes: every level has to stay connected to the graph.
            pooled.index_put_(chosen, pooler(feature, rois[chosen]))
        return pooled


def size_of_output(output_size: int | Sequence[int]) -> tuple[int, int]:
    """Height and width from either form."""
    sides = (output_size, output_size) if isinstance(output_size, int) else tuple(output_size)
    if len(sides) != 2 or not all(isinstance(side, int) for side in sides):
        raise ValueError(f"ROIPooler's output_size is {output_size!r}: use one or two integers.")
    return sides[0], sides[1]


def levels_of(scales: Sequence[float]) -> tuple[int, int]:
    """Finest and coarsest level of `scales`, checked to form a pyramid."""
    levels = [-math.log2(scale) for scale in scales]
    first = round(levels[0]) if levels else 0
    expected = range(first, first + len(levels))
    close = all(math.isclose(a, b, abs_tol=1e-9) for a, b in zip(levels, expected, strict=True))
    if not levels or first < 0 or not close:
        strides = [1 / scale for scale in scales]
        raise ValueError(
            f"ROIPooler needs strides that are powers of 2, each twice the one before: {strides}."
        )
    return first, expected[-1]


def check_counts(x: list[Tensor], box_lists: list[Boxes], num_levels: int) -> None:
    """Refuse another number of feature maps, or of images, than expected."""
    if len(x) != num_levels:
        raise ValueError(f"ROIPooler has {num_levels} scales and got {len(x)} feature maps.")
    if len(box_lists) != len(x[0]):
        raise ValueError(f"ROIPooler got boxes of {len(box_lists)} images and {len(x[0])} images.")
