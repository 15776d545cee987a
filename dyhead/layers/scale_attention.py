"""Scale-aware attention: which pyramid levels matter for this image.

DyHead (Dai et al., CVPR 2021), section 3.2, equation 3, as the official code runs it: per branch,
after the spatial attention, and with a hard-sigmoid that follows a ReLU.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dyhead.layers.hard_sigmoid import hard_sigmoid


class ScaleAttention(nn.Module):
    """Weight every branch by one scalar per image, and average the branches."""

    def __init__(self, channels: int) -> None:
        """Start as the official code does, with scores near zero."""
        super().__init__()
        self.score = nn.Conv2d(channels, 1, kernel_size=1)
        nn.init.normal_(self.score.weight, std=0.01)
        nn.init.constant_(self.score.get_parameter("bias"), 0)

    def forward(self, branches: Sequence[Tensor]) -> Tensor:
        """Average `branches`, tensors (N, C, H, W) of one size, weighted: (N, C, H, W)."""
        weights = [self.weight(branch) / len(branches) for branch in branches]
        average = branches[0] * weights[0]
        for branch, weight in zip(branches[1:], weights[1:], strict=True):
            average = torch.addcmul(average, branch, weight)
        return average

    def weight(self, branch: Tensor) -> Tensor:
        """Score a branch (N, C, H, W): (N, 1, 1, 1), in [0.5, 1] because of the ReLU."""
        pooled = branch.mean(dim=(2, 3), keepdim=True)
        return hard_sigmoid(F.relu(self.score(pooled)))
