"""Locations in the place of anchors, as FCOS (Tian et al., ICCV 2019) and RepPoints have them.

A location is written as a square anchor: its centre is the location, its side the level's stride.
The transforms below turn predictions at locations into boxes; they have `apply_deltas` in common
with the host's box transforms.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from dyhead.box_geometry import box_centers
from dyhead.d2.layers import ShapeSpec
from dyhead.d2.modeling.anchor_generator import DefaultAnchorGenerator

MAX_LOG_DISTANCE = 10.0  # e^10 pixels are beyond any image, and far from overflow


def build_location_generator(levels: Sequence[ShapeSpec]) -> DefaultAnchorGenerator:
    """Build what gives the locations of feature maps: the middle of every stride x stride cell."""
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
        """Decode predictions (D, 4), left, top, right, bottom, to boxes (D, 4), XYXY in pixels."""
        deltas = deltas.float()
        if self.normalize:
            distances = deltas.relu() * sides(locations)
        else:
            distances = deltas.clamp(max=MAX_LOG_DISTANCE).exp()
        centers = box_centers(locations)
        return torch.cat([centers - distances[:, :2], centers + distances[:, 2:]], dim=1)


class PointBoxTransform:
    """Boxes given by their corners' offsets from a location, in units of its stride (RepPoints).

    Unlike with distances to four sides, the box needn't hold its location.
    """

    def apply_deltas(self, deltas: Tensor, locations: Tensor) -> Tensor:
        """Decode offsets (..., 4) from locations (..., 4) to boxes (..., 4), XYXY in pixels."""
        centers = box_centers(locations)
        return torch.cat([centers, centers], dim=-1) + deltas * sides(locations)


def sides(locations: Tensor) -> Tensor:
    """Return the strides (..., 1) of locations (..., 4)."""
    return locations[..., 2:3] - locations[..., :1]
