"""Spatial-aware attention: deformable convolutions of a level and of its two neighbours.

DyHead (Dai et al., CVPR 2021), section 3.2, equation 4, as the official code runs it: offsets and
mask come from the level itself, and serve its neighbours' convolutions too.
"""

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dyhead.layers.map_sizes import read_at_size, upsample, widened
from dyhead.layers.options import BlockOptions
from dyhead.ops import (
    DeformConv,
    PackedKernels,
    foreach_deform_conv_with_moments,
    foreach_modulated_deform_conv2d,
    modulated_deform_conv2d,
)
from dyhead.ops.recording import is_recorded

if TYPE_CHECKING:
    from dyhead.layers.recorder import BlockRecord

KERNEL_SIZE = 3
PADDING = KERNEL_SIZE // 2
TAPS = KERNEL_SIZE * KERNEL_SIZE
NORM_GROUPS = 16

OffsetAndMask = tuple[Tensor, Tensor]


class OffsetConv(nn.Conv2d):
    """A 3x3 convolution to 18 offsets and 9 mask logits per position, accurate in any layout.

    An error of an offset is multiplied by the level's gradient. On CPU, oneDNN's float32
    convolution of a channels_last level is four times less accurate than that of an NCHW one, at
    the same speed. So such a level is copied to NCHW's order; backward keeps it as it came, which
    the deformable convolutions keep too.
    """

    def __init__(self, in_channels: int, offset_init: str = "default") -> None:
        """Take the initialisation, "default" or "zero", from `BlockOptions.offset_init`."""
        super().__init__(in_channels, 3 * TAPS, KERNEL_SIZE, padding=PADDING)
        if offset_init == "zero":
            nn.init.zeros_(self.weight)
            nn.init.zeros_(self.get_parameter("bias"))

    def forward(self, input: Tensor) -> Tensor:
        """Compute (N, 27, H, W) from (N, C, H, W)."""
        is_inaccurate = (
            type(input) is Tensor
            and input.device.type == "cpu"
            and input.dtype == torch.float32
            and not torch.is_autocast_enabled("cpu")
            and not input.is_contiguous()
        )
        is_recorded = torch.compiler.is_compiling() or torch.jit.is_tracing()
        if is_recorded or not is_inaccurate:
            return super().forward(input)
        return _ContiguousConv2d.apply(input, self.weight, self.bias)


class _ContiguousConv2d(torch.autograd.Function):
    """A 3x3 convolution, padding 1, of a contiguous copy; for backward it keeps the original."""

    @staticmethod
    def forward(ctx: Any, level: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        ctx.save_for_backward(level, weight)
        return F.conv2d(level.contiguous(), weight, bias, padding=1)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        level, weight = ctx.saved_tensors
        return torch.ops.aten.convolution_backward(
            grad, level, weight, [len(weight)], [1, 1], [1, 1], [1, 1], False, [0, 0], 1,
            list(ctx.needs_input_grad),
        )  # fmt: skip


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

    def forward(self, feature: Tensor, offset_and_mask: OffsetAndMask | None) -> Tensor:
        """Convolve and normalise; arguments and result are those of `convolve`."""
        return self.norm(self.convolve(feature, offset_and_mask))

    def convolve(self, feature: Tensor, offset_and_mask: OffsetAndMask | None) -> Tensor:
        """Convolve (N, C, H, W) to (N, O, Y, X) = (N, O, ceil(H / stride), ceil(W / stride)).

        Args:
            feature: the level to sample.
            offset_and_mask: offset (N, 18, Y, X), interleaved (dy, dx) in pixels of `feature`, and
                mask (N, 9, Y, X); None for an ordinary convolution.
        """
        if offset_and_mask is None:
            return _static_conv(feature, self.weight, self.bias, self.stride)
        return modulated_deform_conv2d(
            feature, *offset_and_mask, self.weight, self.bias, self.stride, PADDING
        )

    def kernel(self, dtype: torch.dtype) -> tuple[Tensor, Tensor | None]:
        """Return weight and bias in `dtype`."""
        return self.weight.to(dtype), None if self.bias is None else self.bias.to(dtype)


class Convolution(NamedTuple):
    """One of the convolutions of a level.

    Attributes:
        branch: whose kernel it has.
        feature: (N, C, h, w) that it samples: the level, or a neighbour of it.
        offset_and_mask: as `DeformableBranch.convolve` takes them.
        size: H, W of the level that it is for.
    """

    branch: DeformableBranch
    feature: Tensor
    offset_and_mask: OffsetAndMask | None
    size: tuple[int, int]


class Kernels(NamedTuple):
    """The kernels of the branches, made once for all levels of a forward pass.

    Attributes:
        of_branch: weight and bias in the type of the levels.
        packed: the forms in which back ends read them, see `ops.PackedKernels`.
    """

    of_branch: dict[DeformableBranch, tuple[Tensor, Tensor | None]]
    packed: PackedKernels


class Convolved(NamedTuple):
    """The outputs of the convolutions of some levels.

    Attributes:
        images: level after level, (N, O, h, w) of the finer, the same and the coarser level, where
            there is one. The coarser one is not upsampled yet.
        moments: (3, N, O) of each image, see `ops.foreach_deform_conv_with_moments`; None if they
            are still to be taken.
    """

    images: list[Tensor]
    moments: list[Tensor] | None


class SpatialAttention(nn.Module):
    """Deformable convolutions of a level, of the finer level and of the coarser level."""

    record: "BlockRecord | None" = None  # see `recorder`

    def __init__(
        self, in_channels: int, out_channels: int, options: BlockOptions | None = None
    ) -> None:
        """Build the three convolutions and, if `spatial_aware`, the one that predicts offsets."""
        super().__init__()
        options = options or BlockOptions()
        self.coarser_offsets = options.coarser_offsets
        self.offset_and_mask = (
            OffsetConv(in_channels, options.offset_init) if options.spatial_aware else None
        )
        self.same = DeformableBranch(in_channels, out_channels, bias=options.bias)
        self.finer = DeformableBranch(in_channels, out_channels, stride=2, bias=options.bias)
        self.coarser = DeformableBranch(in_channels, out_channels, bias=options.bias)

    def forward(self, levels: Sequence[Tensor], index: int) -> tuple[Tensor, ...]:
        """Compute the branches of `levels[index]`, all of its size.

        Args:
            levels: features (N, C, H_i, W_i), finest first. Each must have the size of the next
                finer one's stride-2 convolution.
            index: which level.

        Returns:
            (N, O, H, W) of the finer, the same and the coarser level, where there is one.

        Raises:
            ValueError: the levels' sizes do not fit.
        """
        return tuple(
            upsample(each.branch(each.feature, each.offset_and_mask), each.size)
            for each in self._convolutions(levels, index)
        )

    def kernels(self, dtype: torch.dtype) -> Kernels:
        """Convert the kernels for `convolve`, once: every copy that it reads is kept for backward.

        They are those of one forward pass; parameters that have changed need new ones.
        """
        branches = self.finer, self.same, self.coarser
        return Kernels({branch: branch.kernel(dtype) for branch in branches}, {})

    def convolve(
        self, levels: Sequence[Tensor], indices: Sequence[int], kernels: Kernels
    ) -> Convolved:
        """Run the convolutions of `forward` for several levels at once, and nothing that follows.

        Args:
            levels: as for `forward`.
            indices: of the levels whose branches are computed.
            kernels: of the type of the levels.

        Raises:
            ValueError: the levels' sizes do not fit.
        """
        recorded = is_recorded(*levels)
        convolutions = [
            each
            for index in indices
            for each in self._convolutions(levels, index, overwrite=not recorded)
        ]
        if self.offset_and_mask is None:
            images = [
                _static_conv(each.feature, *kernels.of_branch[each.branch], each.branch.stride)
                for each in convolutions
            ]
            return Convolved(images, None)
        calls = [
            DeformConv(feature, *own, *kernels.of_branch[branch], branch.stride, PADDING)
            for branch, feature, own, _ in convolutions
            if own is not None
        ]
        if recorded:
            return Convolved(foreach_modulated_deform_conv2d(calls), None)
        level_sizes = [each.size for each in convolutions]
        return Convolved(
            *foreach_deform_conv_with_moments(calls, level_sizes, packed=kernels.packed)
        )

    def _convolutions(
        self, levels: Sequence[Tensor], index: int, overwrite: bool = False
    ) -> Iterator[Convolution]:
        """Yield those of a level: of the finer, the same and the coarser level."""
        level = levels[index]
        size = level.shape[2], level.shape[3]
        own = self.offsets(level, overwrite)
        if (record := self.record) is not None:  # another thread may end it
            record.add_level(level, own)
        if index > 0:
            _check_halved(levels[index - 1], level)
            yield Convolution(self.finer, levels[index - 1], own, size)
        yield Convolution(self.same, level, own, size)
        if index < len(levels) - 1:
            _check_halved(level, levels[index + 1])
            yield Convolution(self.coarser, *self._fit_coarser(levels[index + 1], level, own), size)

    def offsets(self, level: Tensor, overwrite: bool = False) -> OffsetAndMask | None:
        """Predict offsets and mask, in float32 at least: 16 bits cannot hold coordinates of pixels.

        Args:
            level: (N, C, H, W).
            overwrite: write the mask over its logits: both results are parts of one tensor then,
                which saves a copy. A recorder would bind its graph to the strides of these parts.

        Returns:
            offset (N, 18, H, W) and mask (N, 9, H, W), in (0, 1); None without `spatial_aware`.
        """
        if self.offset_and_mask is None:
            return None
        maps = self.offset_and_mask(level)
        # In the order in which `flat_read` reads, which can then be a view.
        exact = torch.promote_types(maps.dtype, torch.float32)
        maps = maps.to(exact, memory_format=torch.contiguous_format)
        offset, mask = maps[:, : 2 * TAPS], maps[:, 2 * TAPS :]
        if overwrite:
            return offset, mask.sigmoid_()
        return offset.clone(memory_format=torch.contiguous_format), mask.sigmoid()

    def _fit_coarser(
        self, coarser: Tensor, level: Tensor, offset_and_mask: OffsetAndMask | None
    ) -> tuple[Tensor, OffsetAndMask | None]:
        """Bring the coarser level, or else the level's offsets and mask, to the other's size.

        The coarser convolution's output is smaller than they are, unless its input is upsampled.
        """
        if self.coarser_offsets == "upsample_features":
            return upsample(coarser, level.shape[-2:]), offset_and_mask
        if offset_and_mask is None:
            return coarser, None
        return coarser, read_at_size(self.coarser_offsets, *offset_and_mask, *coarser.shape[-2:])


def _static_conv(feature: Tensor, weight: Tensor, bias: Tensor | None, stride: int) -> Tensor:
    return F.conv2d(widened(feature) if stride == 2 else feature, weight, bias, stride, PADDING)


def _check_halved(finer: Tensor, level: Tensor) -> None:
    height, width = level.shape[-2:]
    # In the form in which a recorder writes the size of a convolution of stride 2.
    if (height, width) != tuple((length - 1) // 2 + 1 for length in finer.shape[-2:]):
        raise ValueError(
            f"A level of {height} x {width} cannot follow one of {finer.shape[2]} x"
            f" {finer.shape[3]}: each level must be half the next finer one, rounded up; pad the"
            " images to a multiple of the coarsest level's stride."
        )
