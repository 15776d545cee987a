"""Spatial-aware attention: where to look, on a level and on its two neighbours.

DyHead (Dai et al., CVPR 2021), section 3.2, equation 4, as the official code runs it: offsets and
mask come from the level itself, and serve its neighbours' convolutions too.
"""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dyhead.ops import flat_read, modulated_deform_conv2d

KERNEL_SIZE = 3
TAPS = KERNEL_SIZE * KERNEL_SIZE
NORM_GROUPS = 16


class DeformableBranch(nn.Module):
    """A modulated deformable 3x3 convolution and GroupNorm, with offsets given from outside."""

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1) -> None:
        """Start as the official code does; out_channels is a multiple of the 16 groups."""
        super().__init__()
        self.stride = stride
        self.weight = nn.Parameter(torch.empty(out_channels, in_channels, KERNEL_SIZE, KERNEL_SIZE))
        self.bias = nn.Parameter(torch.zeros(out_channels))
        self.norm = nn.GroupNorm(NORM_GROUPS, out_channels)
        bound = 1 / math.sqrt(in_channels * TAPS)
        nn.init.uniform_(self.weight, -bound, bound)

    def forward(self, feature: Tensor, offset: Tensor, mask: Tensor) -> Tensor:
        """Convolve (N, C, H, W) to (N, O, ceil(H / stride), ceil(W / stride)).

        Args:
            feature: the level to sample.
            offset: (N, 18, Y, X), interleaved (dy, dx) in pixels of `feature`.
            mask: (N, 9, Y, X). Where Y x X is larger than the output, both undergo `flat_read`.

        Raises:
            ValueError: Y x X is smaller than the output.
        """
        height, width = (math.ceil(length / self.stride) for length in feature.shape[-2:])
        return self.norm(
            modulated_deform_conv2d(
                feature,
                flat_read(offset, height, width),
                flat_read(mask, height, width),
                self.weight,
                self.bias,
                stride=self.stride,
                padding=KERNEL_SIZE // 2,
            )
        )


class SpatialAttention(nn.Module):
    """Deformable convolutions of a level, of the finer level and of the coarser level."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        """Start with offsets that move, as the official code does: PyTorch's default, not zero."""
        super().__init__()
        self.offset_and_mask = nn.Conv2d(in_channels, 3 * TAPS, KERNEL_SIZE, padding=1)
        self.same = DeformableBranch(in_channels, out_channels)
        self.finer = DeformableBranch(in_channels, out_channels, stride=2)
        self.coarser = DeformableBranch(in_channels, out_channels)

    def forward(self, levels: Sequence[Tensor], index: int) -> list[Tensor]:
        """Compute the branches of `levels[index]`, all of its size.

        Args:
            levels: features (N, C, H_i, W_i), finest first. A level must have the size of the next
                finer one's stride-2 convolution, and at least as many positions as the coarser.
            index: which level.

        Returns:
            (N, O, H, W) of the same, then of the finer and the coarser level where there is one.

        Raises:
            ValueError: the levels' sizes do not fit.
        """
        level = levels[index]
        size = level.shape[-2:]
        offset, mask = self.offsets(level)
        branches = [self.same(level, offset, mask)]
        if index > 0:
            branches.append(self.finer(levels[index - 1], offset, mask))
            _check_halved(levels[index - 1], size, branches[-1])
        if index < len(levels) - 1:
            coarse = self.coarser(levels[index + 1], offset, mask)
            branches.append(F.interpolate(coarse, size, mode="bilinear", align_corners=True))
        return branches

    def offsets(self, level: Tensor) -> tuple[Tensor, Tensor]:
        """Predict offset (N, 18, H, W) and mask (N, 9, H, W), in (0, 1), from (N, C, H, W)."""
        offset, mask = self.offset_and_mask(level).split((2 * TAPS, TAPS), dim=1)
        return offset, mask.sigmoid()


def _check_halved(finer: Tensor, size: torch.Size, halved: Tensor) -> None:
    if halved.shape[-2:] != size:
        raise ValueError(
            f"A level of {size[0]} x {size[1]} cannot follow one of {finer.shape[2]} x"
            f" {finer.shape[3]}: each level must be half the next finer one, rounded up; pad the"
            " images to a multiple of the coarsest level's stride."
        )
