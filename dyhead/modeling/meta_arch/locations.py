"""Locations in the place of anchors, for detectors that predict distances (Tian et al., ICCV 2019).

A location is written as a square anchor: its centre is the location, its side the level's stride.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from dyhead.d2.layers import ShapeSpec
from dyhead.d2.modeling.anchor_generator import DefaultAnchorGenerator
from dyhead.modeling.meta_arch.box_geometry import box_centers

MAX_LOG_DISTANCE = 10.0  # e^10 pixels are beyond any image, and far from overflow


def build_location_generator(levels: Sequence[ShapeSpec]) -> DefaultAnchorGenerator:
    """What gives the locations of feature maps: the middle of every stride x stride cell."""
    strides = [int(level.stride or 0) for level in levels]
    return DefaultAnchorGenerator(
        sizes=[[float(stride)] for stride in strides],
        aspect_ratios=[[1.0]],
        strides=strides,
        offset=0.5,
    )


class DistanceTransform:
    """Distances from locations to the sides of boxes.

    Args:
        normalize: predicted numbers are rectified and count in strides; else the distance in pixels
            is their exponential, as in FCOS's first version.
    """

    def __init__(self, normalize: bool = True) -> None:
        self.normalize = normalize

    def apply_deltas(self, deltas: Tensor, locations: Tensor) -> Tensor:
        """Boxes (D, 4), XYXY in pixels, of predictions (D, 4): left, top, right, bottom."""
        deltas = deltas.float()
        if self.normalize:
            distances = deltas.relu() * (locations[:, 2:3] - locations[:, :1])
        else:
            distances = deltas.clamp(max=MAX_LOG_DISTANCE).exp()
        centers = box_centers(locations)
        return torch.cat([centers - distances[:, :2], centers + distances[:, 2:]], dim=1)
