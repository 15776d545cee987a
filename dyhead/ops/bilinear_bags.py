"""The modulated deformable convolution as weighted bags of pixels, in plain PyTorch.

A tap reads four pixels and adds them with weights: that is a weighted bag of rows of a (pixels,
channels) table, and `F.embedding_bag` is a fast kernel for it. The sampled rows of all taps, side
by side, are the columns of an im2col; one matrix product with the kernel finishes the convolution.

Backward needs the same sampling transposed: every pixel collects a weighted bag of the columns'
gradients, so once the samples are sorted by the pixel they read, the same fast kernel does it.

Columns are K times larger than the input. They are made and consumed in chunks that stay in the
processor's cache, and made again in backward instead of being kept.

Shape letters: as in `deform_conv`; P = N * Y * X output positions, R = N * H * W rows of the table.
"""

from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from dyhead.ops.matmul import matmul_nt, matmul_tn

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
    """Compute `modulated_deform_conv2d`: shapes checked, one dtype for all, autocast off."""
    output = _DeformConvByBags.apply(input, offset, mask, weight, stride, padding, dilation)
    return output if bias is None else output + bias[:, None, None]


class _DeformConvByBags(torch.autograd.Function):
    """Keeps for backward nothing but its inputs: everything else is cheap to make again."""

    @staticmethod
    def forward(
        ctx: Any,
        input: Tensor,
        offset: Tensor,
        mask: Tensor,
        weight: Tensor,
        stride: Pair,
        padding: Pair,
        dilation: Pair,
    ) -> Tensor:
        ctx.save_for_backward(input, offset, mask, weight)
        ctx.geometry = stride, padding, dilation
        rows, weights = _bags(input, offset, mask, weight, *ctx.geometry)
        table = _as_table(input)
        kernel = _as_matrix(weight)
        batch, _, height, width = offset.shape
        output = table.new_empty(batch * height * width, len(kernel))  # (P, O)
        for chunk in _chunks(kernel, len(output)):
            columns = _sample(table, rows[chunk], weights[chunk])  # (chunk, K * C)
            output[chunk] = matmul_nt(columns, kernel)
        return output.view(batch, height, width, len(kernel)).permute(0, 3, 1, 2)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor | None, ...]:
        needed = ctx.needs_input_grad[:4]
        # Whoever calls backward() within autocast must get the precision of forward all the same.
        with torch.autocast(grad_output.device.type, enabled=False):
            gradients = _gradients(grad_output, ctx.saved_tensors, ctx.geometry, needed)
        return *gradients, None, None, None


def _gradients(
    grad_output: Tensor,
    saved: tuple[Tensor, Tensor, Tensor, Tensor],
    geometry: tuple[Pair, Pair, Pair],
    needed: tuple[bool, ...],
) -> tuple[Tensor | None, ...]:
    """Gradients of input, offset, mask and weight; None where not needed."""
    need_input, need_offset, need_mask, need_weight = needed
    input, offset, mask, weight = saved
    offset, mask = offset.detach().requires_grad_(), mask.detach().requires_grad_()
    with torch.enable_grad():
        rows, weights = _bags(input, offset, mask, weight, *geometry)
    # embedding_bag before torch 2.7 differentiates its weights only if the table is differentiable.
    table = _as_table(input).detach().requires_grad_()  # (R, C)
    kernel = _as_matrix(weight)  # (O, K * C)
    kernel_transposed = kernel.t().contiguous()
    grad_rows = _as_table(grad_output)  # (P, O)
    grad_table, grad_kernel = torch.zeros_like(table), torch.zeros_like(kernel)
    grad_weights = torch.zeros_like(weights)  # (P, K, 4)
    for chunk in _chunks(kernel, len(grad_rows)):
        chunk_rows, chunk_weights = rows[chunk], weights[chunk].detach().requires_grad_()
        with torch.enable_grad():
            columns = _sample(table, chunk_rows, chunk_weights)
        grad_columns = matmul_nt(grad_rows[chunk], kernel_transposed)  # (chunk, K * C)
        if need_weight:
            grad_kernel += matmul_tn(grad_rows[chunk], columns.detach())
        if need_input:
            _scatter(grad_table, grad_columns, chunk_rows, chunk_weights.detach())
        if need_offset or need_mask:
            (grad_weights[chunk],) = torch.autograd.grad(columns, chunk_weights, grad_columns)
    grad_offset, grad_mask = torch.autograd.grad(weights, (offset, mask), grad_weights)
    batch, channels, height, width = input.shape
    taps_first = (weight.shape[0], *weight.shape[2:], channels)
    return (
        grad_table.view(batch, height, width, channels).permute(0, 3, 1, 2) if need_input else None,
        grad_offset if need_offset else None,
        grad_mask if need_mask else None,
        grad_kernel.view(taps_first).permute(0, 3, 1, 2) if need_weight else None,
    )


def _bags(
    input: Tensor,
    offset: Tensor,
    mask: Tensor,
    weight: Tensor,
    stride: Pair,
    padding: Pair,
    dilation: Pair,
) -> tuple[Tensor, Tensor]:
    """Which rows of the table every tap reads, and with which weights.

    Returns:
        rows: (P, K, 4), int32 where it suffices; corners outside the input name a border row.
        weights: (P, K, 4), bilinear share times mask, zero for corners outside the input;
            differentiable with respect to offset and mask.
    """
    batch, _, height, width = input.shape
    taps = mask.shape[1]
    dy, dx = offset.unflatten(1, (taps, 2)).permute(2, 0, 3, 4, 1)  # each (N, Y, X, K)
    tap_y, tap_x = _tap_positions(offset, weight, stride, padding, dilation)
    corner_y, share_y = _corners(dy + tap_y, height)  # (N, Y, X, K, 2)
    corner_x, share_x = _corners(dx + tap_x, width)
    share_x = share_x * mask.permute(0, 2, 3, 1).unsqueeze(-1)
    weights = share_y.unsqueeze(-1) * share_x.unsqueeze(-2)  # (N, Y, X, K, 2, 2)

    index_dtype = torch.int32 if input.shape[0] * height * width < 2**31 else torch.int64
    image = torch.arange(batch, device=input.device, dtype=index_dtype) * height
    line = (corner_y.to(index_dtype) + image.view(-1, 1, 1, 1, 1)) * width
    rows = line.unsqueeze(-1) + corner_x.to(index_dtype).unsqueeze(-2)
    return rows.reshape(-1, taps, 4), weights.reshape(-1, taps, 4)


def _tap_positions(
    offset: Tensor, weight: Tensor, stride: Pair, padding: Pair, dilation: Pair
) -> tuple[Tensor, Tensor]:
    """Where the taps lie without offsets, in input pixels: y as (Y, 1, K), x as (X, K)."""

    def steps(length: int, step: int) -> Tensor:
        return torch.arange(length, device=offset.device, dtype=offset.dtype) * step

    kernel_y, kernel_x = map(steps, weight.shape[2:], dilation)
    origin_y, origin_x = map(steps, offset.shape[2:], stride)
    kernel_y, kernel_x = torch.meshgrid(kernel_y, kernel_x, indexing="ij")  # row-major taps
    tap_y = (origin_y - padding[0]).view(-1, 1, 1) + kernel_y.flatten()
    tap_x = (origin_x - padding[1]).view(-1, 1) + kernel_x.flatten()
    return tap_y, tap_x


def _corners(position: Tensor, length: int) -> tuple[Tensor, Tensor]:
    """The two pixels round each position along one axis, and their linear shares.

    Returns:
        pixel: (..., 2), within [0, length).
        share: (..., 2), zero where the pixel lies outside the axis.
    """
    below = position.detach().floor()
    fraction = position - below
    pixel = torch.stack((below, below + 1), dim=-1)
    inside = (pixel >= 0) & (pixel < length)
    share = torch.stack((1 - fraction, fraction), dim=-1) * inside
    # Clamped again as integers: a coordinate that is not a number must not become a wild index.
    return pixel.clamp(0, length - 1).to(torch.int32).clamp(0, length - 1), share


def _as_table(image: Tensor) -> Tensor:
    """(N, C, H, W) -> (N * H * W, C), without a copy where the image is channels_last."""
    return image.permute(0, 2, 3, 1).flatten(0, 2).contiguous()


def _as_matrix(weight: Tensor) -> Tensor:
    """(O, C, kernel height, kernel width) -> (O, K * C)."""
    return weight.permute(0, 2, 3, 1).flatten(1).contiguous()


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
