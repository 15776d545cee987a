"""Task-aware attention: dynamic ReLU, form B.

DyHead (Dai et al., CVPR 2021), section 3.2, equation 5; Dynamic ReLU (Chen et al., ECCV 2020).
"""

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dyhead.layers.attention_coefficients import HARD_SIGMOIDS

if TYPE_CHECKING:
    from dyhead.layers.recorder import BlockRecord


class DyReLU(nn.Module):
    """A dynamic ReLU: max(a1 * x + b1, a2 * x + b2), per channel, with a and b from the image.

    Slopes a1 lie in [0, 2] and a2 in [-1, 1], intercepts in [-0.5, 0.5]: around an ordinary ReLU.
    """

    record: "BlockRecord | None" = None  # see `recorder`

    def __init__(self, channels: int, reduction: int = 4, hard_sigmoid: str = "official") -> None:
        """Squeeze the pooled channels by `reduction` between the two linear layers."""
        super().__init__()
        self.hard_sigmoid = HARD_SIGMOIDS[hard_sigmoid]
        hidden = channels // reduction
        self.squeeze = nn.Linear(channels, hidden)
        self.expand = nn.Linear(hidden, 4 * channels)

    def forward(self, feature: Tensor) -> Tensor:
        """Activate (N, C, H, W)."""
        slope1, intercept1, slope2, intercept2 = coefficients = self.coefficients(feature)
        if (record := self.record) is not None:  # another thread may end it
            record.add_dyrelu(torch.stack(coefficients).flatten(2))
        return torch.maximum(
            torch.addcmul(intercept1, feature, slope1), torch.addcmul(intercept2, feature, slope2)
        )

    def coefficients(self, feature: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Compute slopes and intercepts a1, b1, a2, b2 from (N, C, H, W): each (N, C, 1, 1)."""
        pooled = feature.mean(dim=(2, 3))  # (N, C)
        theta = self.hard_sigmoid(self.expand(F.relu(self.squeeze(pooled)))) - 0.5  # (N, 4C)
        slope1, intercept1, slope2, intercept2 = theta[..., None, None].chunk(4, dim=1)
        return 2 * slope1 + 1, intercept1, 2 * slope2, intercept2
