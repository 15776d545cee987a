"""What box a set of points stands for (RepPoints, section 3.2), and where it lies in the image.

Shape letters: N images, P points of a set, H x W locations of a level.
"""

import torch
from torch import Tensor, nn

from dyhead.errors import UserError
from dyhead.modeling.meta_arch.box_geometry import box_centers

PARTIAL_POINTS = 4  # that "partial_minmax" looks at
TRANSFORMS = ("moment", "minmax", "partial_minmax")


def scale_gradient(x: Tensor, factor: float) -> Tensor:
    """`x` itself, through which only `factor` of the gradient flows back."""
    return x.detach() + factor * (x - x.detach())


class PseudoBox(nn.Module):
    """The box of a set of points, in a way that lets gradients through.

    Args:
        transform: "moment": the points' mean, plus and minus their (unbiased) standard deviation
            times a learned factor per axis, shared by all sets; "minmax": the smallest box around
            the points; "partial_minmax": that around the first four points.
        moment_mul: share of the gradient that the learned factors get.

    Raises:
        UserError: there is no such transform.
    """

    def __init__(self, transform: str = "moment", moment_mul: float = 0.01) -> None:
        super().__init__()
        if transform not in TRANSFORMS:
            raise UserError(
                f"MODEL.REPPOINTS.TRANSFORM is {transform!r}: use one of {', '.join(TRANSFORMS)}."
            )
        self.transform = transform
        self.moment_mul = moment_mul
        if transform == "moment":
            # Logarithms of the factors, horizontal first.
            self.moment_transfer = nn.Parameter(torch.zeros(2))

    def forward(self, points: Tensor) -> Tensor:
        """Turn points (N, 2P, H, W), y before x, into boxes (N, 4, H, W), XYXY in their unit."""
        points = points.unflatten(1, (-1, 2)).flip(2)  # (N, P, 2, H, W), x before y
        if self.transform == "moment":
            return self._by_moments(points)
        if self.transform == "partial_minmax":
            points = points[:, :PARTIAL_POINTS]
        return torch.cat([points.amin(dim=1), points.amax(dim=1)], dim=1)

    def _by_moments(self, points: Tensor) -> Tensor:
        deviation, mean = torch.std_mean(points, dim=1)  # (N, 2, H, W)
        factor = scale_gradient(self.moment_transfer, self.moment_mul).exp()
        half_size = deviation * factor[:, None, None]
        return torch.cat([mean - half_size, mean + half_size], dim=1)


class PointBoxTransform:
    """Boxes given by their corners' offsets from a location, in units of its stride.

    The interface of the host's box transforms, for locations as anchors: squares of a side of one
    stride. Unlike with distances to four sides, the box needn't hold its location.
    """

    def apply_deltas(self, deltas: Tensor, locations: Tensor) -> Tensor:
        """Boxes (..., 4), XYXY in pixels, from offsets (..., 4) and locations (..., 4)."""
        return _corner_origins(locations) + deltas * _sides(locations)


def _corner_origins(locations: Tensor) -> Tensor:
    centers = box_centers(locations)
    return torch.cat([centers, centers], dim=-1)


def _sides(locations: Tensor) -> Tensor:
    return locations[..., 2:3] - locations[..., 0:1]
