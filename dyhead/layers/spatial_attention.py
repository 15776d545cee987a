"""Spatial-aware attention: where to look, on a level and on its two neighbours.

DyHead (Dai et al., CVPR 2021), section 3.2, equation 4, as the official code runs it: offsets and
mask come from the level itself, and serve its neighbours' convolutions too.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dyhead.layers.offset_conv import predict_offsets
from dyhead.layers.options import BlockOptions
from dyhead.ops import (
    DeformConv,
    PackedKernels,
    crop,
    flat_read,
    foreach_deform_conv_with_moments,
    foreach_modulated_deform_conv2d,
    modulated_deform_conv2d,
    resize_mask,
    resize_offset,
)
from dyhead.ops.recording import is_exported, is_recorded

KERNEL_SIZE = 3
PADDING = KERNEL_SIZE // 2
TAPS = KERNEL_SIZE * KERNEL_SIZE
NORM_GROUPS = 16

Where = tuple[Tensor, Tensor]  # offset and mask
Kernel = tuple[Tensor, Tensor | None]  # weight and bias

# Which branch, the level that it samples, where, and the size of the level that it is for.
Convolution = tuple["DeformableBranch", Tensor, Where | None, tuple[int, int]]


class Convolved(NamedTuple):
    """What the convolutions of some levels gave.

    Attributes:
        images: level after level, (N, O, h, w) of the finer, the same and the coarser level, where
            there is one. The coarser one is not upsampled yet.
        moments: (3, N, O) of each image, see `ops.foreach_deform_conv_with_moments`; None if they
            are still to be taken.
    """

    images: list[Tensor]
    moments: list[Tensor] | None


# How offset and mask of a level come to the size of the coarser level.
_FITS: dict[str, tuple[Callable[..., Tensor], Callable[..., Tensor]]] = {
    "flat_read": (flat_read, flat_read),
    "crop": (crop, crop),
    "resize": (resize_offset, resize_mask),
}


class DeformableBranch(nn.Module):
    """A modulated deformable 3x3 convolution and GroupNorm, with offsets given from outside."""

    def __init__(
        self, in_channels: int, out_channels: int, stride: int = 1, bias: bool = True
    ) -> None:
        """Start as the official code does; out_channels is a multiple of the 16 groups."""
        super().__init__()
        self.stride = stride
        self.weight = nn.Parameter(torch.empty(out_channels, in_channels, KERNEL_SIZE, KERNEL_SIZE))
        self.bias = nn.Parameter(torch.zeros(out_channels)) if bias else None
        self.norm = nn.GroupNorm(NORM_GROUPS, out_channels)
        bound = 1 / math.sqrt(in_channels * TAPS)
        nn.init.uniform_(self.weight, -bound, bound)

    def forward(self, feature: Tensor, where: Where | None) -> Tensor:
        """Convolve and normalise; arguments and result are those of `convolve`."""
        return self.norm(self.convolve(feature, where))

    def convolve(self, feature: Tensor, where: Where | None) -> Tensor:
        """Convolve (N, C, H, W) to (N, O, Y, X) = (N, O, ceil(H / stride), ceil(W / stride)).

        Args:
            feature: the level to sample.
            where: offset (N, 18, Y, X), interleaved (dy, dx) in pixels of `feature`, and mask
                (N, 9, Y, X); None for an ordinary convolution.
        """
        if where is None:
            return F.conv2d(feature, self.weight, self.bias, self.stride, PADDING)
        return modulated_deform_conv2d(
            feature, *where, self.weight, self.bias, self.stride, PADDING
        )

    def kernel(self, dtype: torch.dtype) -> Kernel:
        """Weight and bias in `dtype`."""
        return self.weight.to(dtype), None if self.bias is None else self.bias.to(dtype)


class SpatialAttention(nn.Module):
    """Deformable convolutions of a level, of the finer level and of the coarser level."""

    def __init__(
        self, in_channels: int, out_channels: int, options: BlockOptions | None = None
    ) -> None:
        """Build the three convolutions and, if `spatial_aware`, the one that predicts offsets."""
        super().__init__()
        options = options or BlockOptions()
        self.coarser_offsets = options.coarser_offsets
        self.offset_and_mask = (
            build_offset_conv(in_channels, options.offset_init) if options.spatial_aware else None
        )
        self.same = DeformableBranch(in_channels, out_channels, bias=options.bias)
        self.finer = DeformableBranch(in_channels, out_channels, stride=2, bias=options.bias)
        self.coarser = DeformableBranch(in_channels, out_channels, bias=options.bias)

    def forward(self, levels: Sequence[Tensor], index: int) -> list[Tensor]:
        """Compute the branches of `levels[index]`, all of its size.

        Args:
            levels: features (N, C, H_i, W_i), finest first. A level must have the size of the next
                finer one's stride-2 convolution, and at least as many positions as the coarser.
            index: which level.

        Returns:
            (N, O, H, W) of the finer, the same and the coarser level, where there is one.

        Raises:
            ValueError: the levels' sizes do not fit.
        """
        return [
            _upsample(branch(feature, where), size)
            for branch, feature, where, size in self._convolutions(levels, index)
        ]

    def convolve(self, levels: Sequence[Tensor], parts: Iterable[range]) -> Iterator[Convolved]:
        """Run the convolutions of `forward`, and nothing that follows them.

        Args:
            levels: as for `forward`.
            parts: which levels' convolutions to run together.

        Yields:
            For each part what its levels' convolutions gave, in the type of the levels.
        """
        branches = self.finer, self.same, self.coarser
        # Once for all levels: every copy that a convolution reads is kept for backward.
        kernels = {branch: branch.kernel(levels[0].dtype) for branch in branches}
        packed: PackedKernels = {}
        for part in parts:
            # Not kept here: whoever takes a part's maps may let go of them before the next.
            yield self._convolve_part(levels, part, kernels, packed)

    def _convolve_part(
        self,
        levels: Sequence[Tensor],
        part: range,
        kernels: Mapping[DeformableBranch, Kernel],
        packed: PackedKernels,
    ) -> Convolved:
        convolutions = [each for index in part for each in self._convolutions(levels, index)]
        if self.offset_and_mask is None:
            images = [
                F.conv2d(feature, *kernels[branch], branch.stride, PADDING)
                for branch, feature, _, _ in convolutions
            ]
            return Convolved(images, None)
        calls = [
            DeformConv(feature, *where, *kernels[branch], branch.stride, PADDING)
            for branch, feature, where, _ in convolutions
            if where is not None
        ]
        if is_recorded(*levels):
            return Convolved(foreach_modulated_deform_conv2d(calls), None)
        level_sizes = [size for *_, size in convolutions]
        return Convolved(*foreach_deform_conv_with_moments(calls, level_sizes, packed=packed))

    def _convolutions(self, levels: Sequence[Tensor], index: int) -> Iterator[Convolution]:
        """What is convolved for a level."""
        level = levels[index]
        size = level.shape[2], level.shape[3]
        where = self.offsets(level)
        if index > 0:
            _check_halved(levels[index - 1], level)
            yield self.finer, levels[index - 1], where, size
        yield self.same, level, where, size
        if index < len(levels) - 1:
            yield self.coarser, *self._fit_coarser(levels[index + 1], level, where), size

    def offsets(self, level: Tensor) -> Where | None:
        """Predict where to look, in float32 at least: 16 bits cannot hold coordinates of pixels.

        Args:
            level: (N, C, H, W).

        Returns:
            offset (N, 18, H, W) and mask (N, 9, H, W), in (0, 1), which are parts of one tensor so
            that only one is kept for backward, if any is; None without `spatial_aware`.
        """
        if self.offset_and_mask is None:
            return None
        maps = predict_offsets(self.offset_and_mask, level)
        # In the order in which `flat_read` reads, which can then be a view.
        exact = torch.promote_types(maps.dtype, torch.float32)
        maps = maps.to(exact, memory_format=torch.contiguous_format)
        offset, mask = maps[:, : 2 * TAPS], maps[:, 2 * TAPS :]
        if is_exported():
            return offset.clone(memory_format=torch.contiguous_format), mask.sigmoid()
        return offset, mask.sigmoid_()

    def _fit_coarser(
        self, coarser: Tensor, level: Tensor, where: Where | None
    ) -> tuple[Tensor, Where | None]:
        """What the coarser level's convolution reads, and the level's offsets and mask to its size.

        Its output is smaller than they are, unless the coarser level is upsampled first.
        """
        if self.coarser_offsets == "upsample_features":
            return _upsample(coarser, level.shape[-2:]), where
        if where is None:
            return coarser, None
        fit_offset, fit_mask = _FITS[self.coarser_offsets]
        height, width = coarser.shape[-2:]
        return coarser, (fit_offset(where[0], height, width), fit_mask(where[1], height, width))


def build_offset_conv(in_channels: int, offset_init: str) -> nn.Conv2d:
    """The 3x3 convolution that predicts 18 offsets and 9 mask logits per position.

    Args:
        in_channels: channels of the level.
        offset_init: "default" or "zero", see `BlockOptions`.
    """
    convolution = nn.Conv2d(in_channels, 3 * TAPS, KERNEL_SIZE, padding=PADDING)
    if offset_init == "zero":
        nn.init.zeros_(convolution.weight)
        nn.init.zeros_(convolution.get_parameter("bias"))
    return convolution


def _upsample(feature: Tensor, size: Sequence[int]) -> Tensor:
    if feature.shape[-2:] == tuple(size):
        return feature
    return F.interpolate(feature, tuple(size), mode="bilinear", align_corners=True)


def _check_halved(finer: Tensor, level: Tensor) -> None:
    height, width = level.shape[-2:]
    if (height, width) != tuple((length + 1) // 2 for length in finer.shape[-2:]):
        raise ValueError(
            f"A level of {height} x {width} cannot follow one of {finer.shape[2]} x"
            f" {finer.shape[3]}: each level must be half the next finer one, rounded up; pad the"
            " images to a multiple of the coarsest level's stride."
        )
