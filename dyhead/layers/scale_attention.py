"""Scale-aware attention: a weight for each branch of a level, computed from the image.

DyHead (Dai et al., CVPR 2021), section 3.2, equation 3, with the ReLU that the official code puts
before the hard-sigmoid.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dyhead.layers.attention_coefficients import HARD_SIGMOIDS

if TYPE_CHECKING:
    from dyhead.layers.recorder import BlockRecord


class ScaleAttention(nn.Module):
    """A weighted mean of features, with one weight per feature and image."""

    record: "BlockRecord | None" = None  # see `recorder`

    def __init__(self, channels: int, hard_sigmoid: str = "official") -> None:
        """Start as the official code does, with scores near zero."""
        super().__init__()
        self.score = nn.Conv2d(channels, 1, kernel_size=1)
        self.hard_sigmoid = HARD_SIGMOIDS[hard_sigmoid]
        nn.init.normal_(self.score.weight, std=0.01)
        nn.init.constant_(self.score.get_parameter("bias"), 0)

    def forward(self, branches: Sequence[Tensor]) -> Tensor:
        """Average `branches`, tensors (N, C, H, W) of one size, weighted: (N, C, H, W)."""
        weights = [self.weight(branch) / len(branches) for branch in branches]
        if (record := self.record) is not None:  # another thread may end it
            record.add_shares(torch.cat(weights, dim=1).flatten(1))
        average = branches[0] * weights[0]
        for branch, weight in zip(branches[1:], weights[1:], strict=True):
            average = torch.addcmul(average, branch, weight)
        return average

    def weight(self, feature: Tensor) -> Tensor:
        """Score (N, C, H, W): (N, 1, 1, 1), in [0.5, 1] because of the ReLU."""
        pooled = feature.mean(dim=(2, 3), keepdim=True)
        return self.hard_sigmoid(F.relu(self.score(pooled)))
