"""The modulated deformable convolution as embedding bags, in plain PyTorch.

A tap reads four pixels and adds them with weights: that is a weighted bag of rows of a (pixels,
channels) embedding table, and `F.embedding_bag` is a fast kernel for it. The sampled rows of all
taps, side by side, are the columns of an im2col; one matrix product with the kernel finishes the
convolution.

Backward needs the same sampling transposed: every pixel collects a weighted bag of the columns'
gradients, so once the samples are sorted by the pixel they read, the same fast kernel does it.

Columns are K times larger than the input. They are made and consumed in chunks that stay in the
processor's cache, and made again in backward instead of being kept.

Types: input, kernel, bias and result share one, offset and mask have another of float32 or float64.
Samples are weighted and summed in the latter, so that nothing but the operands of the matrix
products is ever rounded to 16 bits.

Shape letters: as in `backends.arguments`; P = N * Y * X output positions, R = N * H * W rows
of the table.
"""

import itertools
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from dyhead.ops.backends import (
    Backend,
    DeformConv,
    Gradients,
    PackedKernels,
    Pair,
    pack_once,
)
from dyhead.ops.pytorch.device_constants import device_constant
from dyhead.ops.pytorch.matmul import matmul_nt, matmul_tn

# Values of the columns in one chunk: 8 MB in float32. Large enough to keep every core busy, small
# enough for a last-level cache and for the allocator to reuse the memory without new page faults.
CHUNK_VALUES = 2**21


class PyTorchBackend(Backend):
    """Embedding bags, on every device and for every type; outputs are channels_last."""

    name = "pytorch"

    def forward(self, convolutions: Sequence[DeformConv], packed: PackedKernels) -> list[Tensor]:
        """Compute the outputs one by one."""
        return [_forward(convolution, packed) for convolution in convolutions]

    def gradients(
        self,
        grads: Sequence[Tensor],
        convolutions: Sequence[DeformConv],
        needed: Sequence[Sequence[bool]],
    ) -> list[Gradients]:
        """Compute the gradients one by one.

        Those of the input and of the kernel are summed up in the type of the offsets.
        """
        return list(map(_gradients, grads, convolutions, needed))


def _forward(convolution: DeformConv, packed: PackedKernels) -> Tensor:
    input, _, mask, weight, bias, *_ = convolution
    bag_rows, bag_weights = _bags(input, *_tap_corners(convolution), mask)
    table = _as_table(input).to(mask.dtype)
    (kernel,) = pack_once(packed, [weight], "matrix", lambda weight, _: _as_matrix(weight))
    batch, _, height, width = mask.shape
    shape = batch, len(kernel), height, width
    # Not a view of its rows: in autograd's graph it could not be overwritten.
    output = torch.empty(
        shape, dtype=kernel.dtype, device=kernel.device, memory_format=torch.channels_last
    )
    rows = output.permute(0, 2, 3, 1).view(-1, len(kernel))  # (P, O)
    for chunk in _chunks(kernel, len(rows)):
        columns = _sample(table, bag_rows[chunk], bag_weights[chunk])  # (chunk, K * C)
        rows[chunk] = matmul_nt(columns.to(kernel.dtype), kernel, bias)
    return output


def _gradients(grad_output: Tensor, convolution: DeformConv, needed: Sequence[bool]) -> Gradients:
    input, _, mask, weight, *_ = convolution
    need_input, need_offset, need_mask, need_weight, need_bias = needed
    y, x = _tap_corners(convolution)
    bags = _bags(input, y, x, mask)
    grad_rows = _as_table(grad_output)  # (P, O)
    sums = _sum_gradients(grad_rows, convolution, bags, needed)
    grad_table, grad_kernel, grad_weights = sums
    grad_offset, grad_mask = _gradients_of_weights(grad_weights, y, x, mask)
    return (
        _as_image(grad_table.to(input.dtype), input) if need_input else None,
        grad_offset if need_offset else None,
        grad_mask if need_mask else None,
        _as_kernel(grad_kernel.to(weight.dtype), weight) if need_weight else None,
        grad_rows.sum(0, dtype=mask.dtype).to(weight.dtype) if need_bias else None,
    )


def _sum_gradients(
    grad_rows: Tensor,
    convolution: DeformConv,
    bags: tuple[Tensor, Tensor],
    needed: Sequence[bool],
) -> tuple[Tensor, Tensor, Tensor]:
    """Walk over the chunks of (P, O) gradients of the output.

    Returns:
        Gradients of the table (R, C), of the kernel (O, K * C) and of the bags' weights (P, K, 4);
        zeros where not needed.
    """
    need_input, need_offset, need_mask, need_weight, _ = needed
    bag_rows, bag_weights = bags
    table = _as_table(convolution.input).to(bag_weights.dtype)
    kernel = _as_matrix(convolution.weight)
    kernel_transposed = kernel.t().contiguous()
    grad_table = torch.zeros_like(table)
    grad_kernel = torch.zeros_like(kernel, dtype=bag_weights.dtype)
    grad_weights = torch.zeros_like(bag_weights)
    for chunk in _chunks(kernel, len(grad_rows)):
        rows, weights = bag_rows[chunk], bag_weights[chunk]
        if need_weight:
            columns = _sample(table, rows, weights).to(kernel.dtype)  # (chunk, K * C)
            grad_kernel += matmul_tn(grad_rows[chunk], columns)
        if not (need_input or need_offset or need_mask):
            continue
        grad_columns = matmul_nt(grad_rows[chunk], kernel_transposed).to(bag_weights.dtype)
        if need_input:
            _scatter(grad_table, grad_columns, rows, weights)
        if need_offset or need_mask:
            grad_weights[chunk] = _weight_gradients(table, grad_columns, rows)
    return grad_table, grad_kernel, grad_weights


class _Corners(NamedTuple):
    """The two pixels round each position along one axis; all (2, N, K, Y, X)."""

    pixel: Tensor  # within [0, length), int32
    share: Tensor  # zero where the pixel lies outside the axis
    inside: Tensor  # whether it does not


def _tap_corners(convolution: DeformConv) -> tuple[_Corners, _Corners]:
    """Locate what every tap reads, along y and along x."""
    input, offset, _, weight, *_ = convolution
    stride, padding, dilation = convolution.pairs()
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
    """Place the taps along an axis without offsets, in input pixels: (K, outputs)."""
    return [
        [position * stride - padding + tap[axis] * dilation for position in range(outputs)]
        for tap in itertools.product(*map(range, kernel_size))  # row-major
    ]


def _corners(position: Tensor, length: int) -> _Corners:
    """Place each position (N, K, Y, X) between two of an axis' `length` pixels."""
    below = position.floor()
    fraction = position - below
    pixel = torch.stack((below, below + 1))
    inside = (pixel >= 0) & (pixel < length)
    share = torch.stack((1 - fraction, fraction)) * inside
    # Clamped again as integers: a coordinate that is not a number must not become a wild index.
    pixel = pixel.clamp(0, length - 1).to(torch.int32).clamp(0, length - 1)
    return _Corners(pixel, share, inside)


def _bags(input: Tensor, y: _Corners, x: _Corners, mask: Tensor) -> tuple[Tensor, Tensor]:
    """List the rows of the table that every tap reads, and their weights.

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
    """Compute the gradients of offset and mask from those of the bags' weights (P, K, 4)."""
    batch, taps, height, width = mask.shape
    grad = grad_weights.view(batch, height, width, taps, 2, 2).permute(4, 5, 0, 3, 1, 2)
    grad_y = (grad * x.share).sum(1)  # of y's shares, without the mask
    grad_x = (grad * y.share.unsqueeze(1)).sum(0)
    grad_mask = (grad_y * y.share).sum(0)
    grads = [_through_shares(grad_y, y) * mask, _through_shares(grad_x, x) * mask]
    return torch.stack(grads, dim=2).flatten(1, 2), grad_mask


def _through_shares(grad: Tensor, corners: _Corners) -> Tensor:
    """Compute the gradient of a position: one share grows by as much as the other shrinks."""
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
    """Compute the gradients of `_sample`'s weights: (P, K, 4)."""
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
