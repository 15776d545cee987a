"""The modulated deformable convolution as weighted bags of pixels, in plain PyTorch.

A tap reads four pixels and adds them with weights: that is a weighted bag of rows of a (pixels,
channels) table, and `F.embedding_bag` is a fast kernel for it. The sampled rows of all taps, side
by side, are the columns of an im2col; one matrix product with the kernel finishes the convolution.

Backward needs the same sampling transposed: every pixel collects a weighted bag of the columns'
gradients, so once the samples are sorted by the pixel they read, the same fast kernel does it.

Columns are K times larger than the input. They are made and consumed in chunks that stay in the
processor's cache, and made again in backward instead of being kept.

Types: input, kernel, bias and result share one, offset and mask have another of float32 or float64.
Samples are weighted and summed in the latter, so that nothing but the operands of the matrix
products is ever rounded to 16 bits.

Shape letters: as in `deform_conv`; P = N * Y * X output positions, R = N * H * W rows of the table.
"""

import itertools
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from dyhead.ops.device_constants import device_constant
from dyhead.ops.packed_kernels import pack_once
from dyhead.ops.pytorch.matmul import matmul_nt, matmul_tn

Pair = tuple[int, int]

# Values of the columns in one chunk: 8 MB in float32. Large enough to keep every core busy, small
# enough for a last-level cache and for the allocator to reuse the memory without new page faults.
CHUNK_VALUES = 2**21


def deform_conv_by_bags(
    input: Tensor,
    offset: Tensor,
    mask: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: Pair,
    padding: Pair,
    dilation: Pair,
) -> Tensor:
    """Compute `modulated_deform_conv2d`: shapes checked, types as a back end gets them."""
    return _DeformConvByBags.apply(input, offset, mask, weight, bias, stride, padding, dilation)


class _DeformConvByBags(torch.autograd.Function):
    """Keeps for backward nothing but its inputs: everything else is cheap to make again."""

    @staticmethod
    def forward(
        ctx: Any,
        input: Tensor,
        offset: Tensor,
        mask: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        stride: Pair,
        padding: Pair,
        dilation: Pair,
    ) -> Tensor:
        ctx.save_for_backward(input, offset, mask, weight)
        ctx.geometry = stride, padding, dilation
        taps_y, taps_x = _tap_corners(input, offset, weight, *ctx.geometry)
        bag_rows, bag_weights = _bags(input, taps_y, taps_x, mask)
        del taps_y, taps_x  # a tenth of the memory of a block
        table = _as_table(input).to(mask.dtype)
        kernel = pack_once(weight, "bags", _as_matrix)
        batch, _, height, width = offset.shape
        output = kernel.new_empty(batch * height * width, len(kernel))  # (P, O)
        for chunk in _chunks(kernel, len(output)):
            columns = _sample(table, bag_rows[chunk], bag_weights[chunk])  # (chunk, K * C)
            output[chunk] = matmul_nt(columns.to(kernel.dtype), kernel, bias)
        return output.view(batch, height, width, len(kernel)).permute(0, 3, 1, 2)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor | None, ...]:
        # Whoever calls backward() within autocast must get the precision of forward all the same.
        with torch.autocast(grad_output.device.type, enabled=False):
            arguments = (grad_output, *ctx.saved_tensors, *ctx.geometry, ctx.needs_input_grad[:5])
            gradients = gradients_by_bags(*arguments)
        return *gradients, None, None, None


def gradients_by_bags(
    grad_output: Tensor,
    input: Tensor,
    offset: Tensor,
    mask: Tensor,
    weight: Tensor,
    stride: Pair,
    padding: Pair,
    dilation: Pair,
    needed: Sequence[bool],
) -> tuple[Tensor | None, ...]:
    """Gradients of input, offset, mask, weight and bias; None where not `needed`.

    Those of the input and of the kernel are summed up in the type of the offsets.
    """
    need_input, need_offset, need_mask, need_weight, need_bias = needed
    taps_y, taps_x = _tap_corners(input, offset, weight, stride, padding, dilation)
    bag_rows, bag_weights = _bags(input, taps_y, taps_x, mask)
    table = _as_table(input).to(mask.dtype)  # (R, C)
    kernel = _as_matrix(weight)  # (O, K * C)
    kernel_transposed = kernel.t().contiguous()
    grad_rows = _as_table(grad_output)  # (P, O)
    grad_table = torch.zeros_like(table)
    grad_kernel = torch.zeros_like(kernel, dtype=mask.dtype)
    grad_weights = torch.zeros_like(bag_weights)  # (P, K, 4)
    for chunk in _chunks(kernel, len(grad_rows)):
        rows, weights = bag_rows[chunk], bag_weights[chunk]
        if need_weight:
            columns = _sample(table, rows, weights).to(kernel.dtype)  # (chunk, K * C)
            grad_kernel += matmul_tn(grad_rows[chunk], columns)
        if not (need_input or need_offset or need_mask):
            continue
        grad_columns = matmul_nt(grad_rows[chunk], kernel_transposed).to(mask.dtype)
        if need_input:
            _scatter(grad_table, grad_columns, rows, weights)
        if need_offset or need_mask:
            grad_weights[chunk] = _weight_gradients(table, grad_columns, rows)
    grad_offset, grad_mask = _gradients_of_weights(grad_weights, taps_y, taps_x, mask)
    return (
        _as_image(grad_table.to(input.dtype), input) if need_input else None,
        grad_offset if need_offset else None,
        grad_mask if need_mask else None,
        _as_kernel(grad_kernel.to(weight.dtype), weight) if need_weight else None,
        grad_rows.sum(0, dtype=mask.dtype).to(weight.dtype) if need_bias else None,
    )


class _Corners(NamedTuple):
    """The two pixels round each position along one axis; all (2, N, K, Y, X)."""

    pixel: Tensor  # within [0, length), int32
    share: Tensor  # zero where the pixel lies outside the axis
    inside: Tensor  # whether it does not


def _tap_corners(
    input: Tensor, offset: Tensor, weight: Tensor, stride: Pair, padding: Pair, dilation: Pair
) -> tuple[_Corners, _Corners]:
    """Where every tap reads, along y and along x."""
    along_y, along_x = offset.unflatten(1, (-1, 2)).unbind(2)  # each (N, K, Y, X)
    kernel_size = tuple(weight.shape[2:])
    corners = []
    for axis, positions in enumerate((along_y, along_x)):
        geometry = offset.shape[2 + axis], stride[axis], padding[axis], dilation[axis]
        taps = device_constant(_tap_positions, (kernel_size, axis, *geometry), offset)
        taps = taps[:, None, :] if axis else taps[:, :, None]  # (K, Y, 1) or (K, 1, X)
        corners.append(_corners(positions + taps, input.shape[2 + axis]))
    return corners[0], corners[1]


def _tap_positions(
    kernel_size: Pair, axis: int, outputs: int, stride: int, padding: int, dilation: int
) -> list[list[int]]:
    """Where the taps lie along an axis without offsets, in input pixels: (K, outputs)."""
    return [
        [position * stride - padding + tap[axis] * dilation for position in range(outputs)]
        for tap in itertools.product(*map(range, kernel_size))  # row-major
    ]


def _corners(position: Tensor, length: int) -> _Corners:
    """Where each position (N, K, Y, X) lies on an axis of `length` pixels."""
    below = position.floor()
    fraction = position - below
    pixel = torch.stack((below, below + 1))
    inside = (pixel >= 0) & (pixel < length)
    share = torch.stack((1 - fraction, fraction)) * inside
    # Clamped again as integers: a coordinate that is not a number must not become a wild index.
    pixel = pixel.clamp(0, length - 1).to(torch.int32).clamp(0, length - 1)
    return _Corners(pixel, share, inside)


def _bags(input: Tensor, y: _Corners, x: _Corners, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Which rows of the table every tap reads, and with which weights.

    Returns:
        rows (P, K, 4), int32 where it suffices, a border row for a corner outside the input, and
        weights (P, K, 4), bilinear share times mask, zero for a corner outside.
    """
    batch, _, height, width = input.shape
    weights = y.share.unsqueeze(1) * (x.share * mask)  # (2, 2, N, K, Y, X)

    index_dtype = torch.int32 if batch * height * width < 2**31 else torch.int64
    line = y.pixel.to(index_dtype)
    if batch > 1:
        image = torch.arange(batch, device=input.device, dtype=index_dtype) * height
        line = line + image.view(-1, 1, 1, 1)
    rows = (line * width).unsqueeze(1) + x.pixel.to(index_dtype)
    return _by_position(rows), _by_position(weights)


def _by_position(corners: Tensor) -> Tensor:
    """(2, 2, N, K, Y, X) -> (P, K, 4)."""
    return corners.permute(2, 4, 5, 3, 0, 1).reshape(-1, corners.shape[3], 4).contiguous()


def _gradients_of_weights(
    grad_weights: Tensor, y: _Corners, x: _Corners, mask: Tensor
) -> tuple[Tensor, Tensor]:
    """Gradients of offset and mask, given those of the bags' weights (P, K, 4)."""
    batch, taps, height, width = mask.shape
    grad = grad_weights.view(batch, height, width, taps, 2, 2).permute(4, 5, 0, 3, 1, 2)
    grad_y = (grad * x.share).sum(1)  # of y's shares, without the mask
    grad_x = (grad * y.share.unsqueeze(1)).sum(0)
    grad_mask = (grad_y * y.share).sum(0)
    grads = [_through_shares(grad_y, y) * mask, _through_shares(grad_x, x) * mask]
    return torch.stack(grads, dim=2).flatten(1, 2), grad_mask


def _through_shares(grad: Tensor, corners: _Corners) -> Tensor:
    """The gradient of a position: one share grows by as much as the other shrinks."""
    before, after = grad * corners.inside
    return after - before


def _as_table(image: Tensor) -> Tensor:
    """(N, C, H, W) -> (N * H * W, C), without a copy where the image is channels_last."""
    return image.permute(0, 2, 3, 1).flatten(0, 2).contiguous()


def _as_matrix(weight: Tensor) -> Tensor:
    """(O, C, kernel height, kernel width) -> (O, K * C)."""
    return weight.permute(0, 2, 3, 1).flatten(1).contiguous()


def _as_image(table: Tensor, image: Tensor) -> Tensor:
    """(N * H * W, C) -> the shape of `image`, (N, C, H, W), laid out as channels_last."""
    batch, channels, height, width = image.shape
    return table.view(batch, height, width, channels).permute(0, 3, 1, 2)


def _as_kernel(matrix: Tensor, weight: Tensor) -> Tensor:
    """(O, K * C) -> the shape of `weight`, (O, C, kernel height, kernel width)."""
    outputs, channels, *size = weight.shape
    return matrix.view(outputs, *size, channels).permute(0, 3, 1, 2)


def _chunks(kernel: Tensor, positions: int) -> Iterator[slice]:
    """Cut the output positions so that a chunk's columns hold about CHUNK_VALUES values."""
    size = max(CHUNK_VALUES // kernel.shape[1], 1)
    return (slice(start, start + size) for start in range(0, positions, size))


def _sample(table: Tensor, rows: Tensor, weights: Tensor) -> Tensor:
    """Sum each tap's four weighted rows: (R, C) and (P, K, 4) -> columns (P, K * C)."""
    bags = F.embedding_bag(
        rows.flatten(0, 1), table, mode="sum", per_sample_weights=weights.flatten(0, 1)
    )
    return bags.view(len(rows), -1)


def _weight_gradients(table: Tensor, grad_columns: Tensor, rows: Tensor) -> Tensor:
    """What `_sample` gives its weights (P, K, 4): products of rows and the columns' gradients."""
    num_bags = rows.shape[0] * rows.shape[1]
    starts = torch.arange(num_bags, device=rows.device, dtype=rows.dtype) * 4
    bag_of_row = torch.arange(num_bags, device=rows.device, dtype=rows.dtype).repeat_interleave(4)
    return torch.ops.aten._embedding_bag_per_sample_weights_backward(
        grad_columns.view(num_bags, -1), table, rows.flatten(), starts, bag_of_row, mode=0
    ).view_as(rows)


def _scatter(grad_table: Tensor, grad_columns: Tensor, rows: Tensor, weights: Tensor) -> None:
    """Add the transpose of `_sample` to `grad_table`.

    Sorted by row, the samples that read one row form one bag of the columns' gradients. Only the
    span of rows that is read at all gets touched.
    """
    taps = rows.shape[0] * rows.shape[1]
    sorted_rows, order = rows.flatten().sort()
    first, last = int(sorted_rows[0]), int(sorted_rows[-1])
    span = torch.arange(first, last + 1, device=rows.device, dtype=rows.dtype)
    bag_starts = torch.searchsorted(sorted_rows, span, out_int32=rows.dtype == torch.int32)
    grad_table[first : last + 1] += F.embedding_bag(
        (order // 4).to(rows.dtype),
        grad_columns.view(taps, -1),
        bag_starts,
        mode="sum",
        per_sample_weights=weights.flatten()[order],
    )
