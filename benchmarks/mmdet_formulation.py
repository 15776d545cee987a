"""MMDetection's formulation of the block, on mmcv's operator where mmcv is installed.

It differs from the official one in that the branches are added up one by one, not stacked.
"""

from collections.abc import Sequence

from baseline import BaselineBlock, Operator
from torch import Tensor

try:
    from mmcv.ops import modulated_deform_conv2d
except ImportError:  # mmcv has to be compiled: few have it
    modulated_deform_conv2d = None


class MMDetectionBlock(BaselineBlock):
    """MMDetection's block on the parameters of one of ours."""

    def attend(self, levels: Sequence[Tensor], index: int) -> Tensor:
        """Compute one level: add up the weighted branches, average, activate."""
        branches = self.branches(levels, index)
        total = branches[0] * self.scale_weight(branches[0])
        for branch in branches[1:]:
            total = total + branch * self.scale_weight(branch)
        return self.activate(total / len(branches))


def mmcv_operator() -> Operator | None:
    """Return mmcv's modulated deformable convolution, None where mmcv can't be imported."""
    if modulated_deform_conv2d is None:
        return None

    def operator(
        input: Tensor,
        offset: Tensor,
        mask: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        stride: int,
    ) -> Tensor:
        return modulated_deform_conv2d(input, offset, mask, weight, bias, stride, 1, 1, 1, 1)

    return operator
