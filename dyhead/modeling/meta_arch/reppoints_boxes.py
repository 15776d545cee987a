"""The box that a set of points stands for (RepPoints, section 3.2).

Shape letters: N images, P points of a set, H x W locations of a level.
"""

import torch
from torch import Tensor, nn

from dyhead.errors import UserError

PARTIAL_POINTS = 4  # that "partial_minmax" looks at
TRANSFORMS = ("moment", "minmax", "partial_minmax")


def scale_gradient(x: Tensor, factor: float) -> Tensor:
    """Return `x` itself, through which only `factor` of the gradient flows back."""
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
        # The standard deviation is half of a box's side up to a factor, which is learned: it suits
        # whatever the points settle on, and its logarithm keeps sides positive.
        deviation, mean = torch.std_mean(points, dim=1)  # (N, 2, H, W)
        factor = scale_gradient(self.moment_transfer, self.moment_mul).exp()
        half_size = deviation * factor[:, None, None]
        return torch.cat([mean - half_size, mean + half_size], dim=1)
