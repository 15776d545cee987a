"""The passes of `branch_mix` in Triton, for CUDA: a launch or two for all levels and branches.

Triton is optional: `branch_mix` comes here only where it is installed and `serves` says so.

Shape letters: as in `branch_mix`; S parts of the positions.
"""

import sys
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from dyhead.ops import torch_branch_mix
from dyhead.ops.branch_mix_by_level import ByLevel, Maps
from dyhead.ops.triton_check import passes_check, values
from dyhead.ops.triton_tables import block_table, device_table, join_rows, split_rows

Size = tuple[int, int]

MAX_BRANCHES = 3  # of the kernels: a pyramid's level has two neighbours
MAX_PARTS = 256  # of the positions of one level, where sums over them are taken
TILE_VALUES = 4096

_BY_TORCH = ByLevel(torch_branch_mix)


def serves(device: torch.device) -> bool:
    """Whether Triton works on `device`; see `triton_check.passes_check`."""
    return passes_check(device, _outcomes, "The passes of fused blocks use plain PyTorch")


def _outcomes(
    device: torch.device, dtype: torch.dtype
) -> tuple[Sequence[Tensor], Sequence[Tensor]]:
    """Results of all passes over a tiny pyramid, ours and plain PyTorch's."""
    sizes = [(5, 4), (3, 2)]
    fine, coarse, below, above, scales, lines, moments = (
        value.to(device)
        for value in values(
            *((1, 5, 4, 18), (1, 3, 2, 18), (1, 3, 2, 18), (1, 3, 2, 18)),
            *((2, 3, 1, 18), (2, 5, 1, 18), (3, 2, 3, 1, 18)),
        )
    )
    results = []
    for passes, kind in ((sys.modules[__name__], dtype), (_BY_TORCH, torch.float32)):
        first, second, third, fourth = (
            image.to(dtype).to(kind) for image in (fine, coarse, below, above)
        )
        maps, grads = [[None, first, second], [third, fourth, None]], [first, third]
        found = [passes.channel_moments(maps, sizes)]
        found += passes.mix_forward(maps, scales, lines, sizes, overwrite=False)
        found += passes.mix_reductions(grads, maps, scales, lines)
        for level in passes.mix_backward(grads, maps, scales, lines, moments):
            found += [gradient for gradient in level if gradient is not None]
        results.append(found)
    return results[0], results[1]


def channel_moments(maps: Maps, sizes: Sequence[Size]) -> Tensor:
    """See `branch_mix.channel_moments`."""
    if _unfit(maps):
        return _BY_TORCH.channel_moments(maps, sizes)
    from dyhead.ops.triton_moments_kernels import join_moments_kernel, moments_kernel

    pyramid = _Pyramid(maps, sizes)
    tiles = _tiles(pyramid.channels)
    span, parts, ranges = pyramid.parts(pyramid.map_lengths, tiles["BLOCK_P"])
    shape = pyramid.images, pyramid.channels
    partial = pyramid.table.new_empty(len(parts), 3, *shape, dtype=torch.float32)
    moments = partial.new_empty(len(maps), len(maps[0]), 3, *shape)
    with torch.cuda.device_of(partial):
        moments_kernel[pyramid.grid(parts, tiles)](
            pyramid.maps,
            parts,
            pyramid.table,
            partial,
            pyramid.images,
            span,
            CHANNELS=pyramid.channels,
            **tiles,
        )
        join_moments_kernel[pyramid.grid(ranges, _JOIN)](
            pyramid.maps,
            ranges,
            partial,
            moments,
            pyramid.images,
            span,
            CHANNELS=pyramid.channels,
            **_JOIN,
        )
    return moments


def mix_forward(
    maps: Maps, scales: Tensor, lines: Tensor, sizes: Sequence[Size], overwrite: bool = False
) -> list[Tensor]:
    """See `branch_mix.mix_forward`."""
    if _unfit(maps):
        return _BY_TORCH.mix_forward(maps, scales, lines, sizes, overwrite)
    from dyhead.ops.triton_mix_kernels import forward_kernel

    pyramid = _Pyramid(maps, sizes)
    tiles = _tiles(pyramid.channels)
    blocks = pyramid.blocks(pyramid.level_lengths, tiles["BLOCK_P"])
    rows = pyramid.images * sum(pyramid.level_lengths)
    output = pyramid.table.new_empty(rows, pyramid.channels)
    with torch.cuda.device_of(output):
        forward_kernel[pyramid.grid(blocks, tiles)](
            pyramid.maps,
            pyramid.levels,
            blocks,
            pyramid.table,
            scales,
            lines,
            output,
            pyramid.images,
            CHANNELS=pyramid.channels,
            BRANCHES=len(maps[0]),
            **tiles,
        )
    return split_rows(output, [(pyramid.images, *size, pyramid.channels) for size in sizes])


def mix_reductions(
    grads: Sequence[Tensor], maps: Maps, scales: Tensor, lines: Tensor
) -> tuple[Tensor, Tensor]:
    """See `branch_mix.mix_reductions`."""
    if _unfit(maps):
        return _BY_TORCH.mix_reductions(grads, maps, scales, lines)
    from dyhead.ops.triton_mix_kernels import join_reductions_kernel, reductions_kernel

    pyramid = _Pyramid(maps, _sizes(grads))
    grad_rows, _ = join_rows([grad.flatten(0, 2) for grad in grads])
    branches = len(maps[0])
    tiles = _tiles(pyramid.channels, TILE_VALUES // 4)  # seven sums stay in registers
    span, parts, ranges = pyramid.parts(pyramid.level_lengths, tiles["BLOCK_P"])
    partial = scales.new_empty(len(parts), 4 + branches, pyramid.images, pyramid.channels)
    grad_scales, grad_lines = torch.empty_like(scales), torch.empty_like(lines)
    with torch.cuda.device_of(partial):
        reductions_kernel[pyramid.grid(parts, tiles)](
            pyramid.maps,
            pyramid.levels,
            parts,
            pyramid.table,
            scales,
            lines,
            grad_rows,
            partial,
            pyramid.images,
            span,
            CHANNELS=pyramid.channels,
            BRANCHES=branches,
            **tiles,
        )
        join_reductions_kernel[pyramid.grid(ranges, _JOIN)](
            ranges,
            partial,
            lines,
            grad_scales,
            grad_lines,
            pyramid.images,
            CHANNELS=pyramid.channels,
            BRANCHES=branches,
            **_JOIN,
        )
    return grad_scales, grad_lines


def mix_backward(
    grads: Sequence[Tensor], maps: Maps, scales: Tensor, lines: Tensor, moments: Tensor
) -> list[list[Tensor | None]]:
    """See `branch_mix.mix_backward`."""
    if _unfit(maps):
        return _BY_TORCH.mix_backward(grads, maps, scales, lines, moments)
    from dyhead.ops.triton_mix_backward_kernels import backward_kernel, finish_upsampled_kernel

    pyramid = _Pyramid(maps, _sizes(grads))
    grad_rows, _ = join_rows([grad.flatten(0, 2) for grad in grads])
    gradients = torch.empty_like(pyramid.table)
    # A smaller map's position gets shares of several of the level's: those need float32.
    rows = pyramid.images * sum(pyramid.upsampled_lengths)
    collected = scales.new_zeros(max(rows, 1), pyramid.channels)
    tiles = _tiles(pyramid.channels, TILE_VALUES // 2)
    blocks = pyramid.blocks(pyramid.level_lengths, tiles["BLOCK_P"])
    count = len(maps) * len(maps[0])
    with torch.cuda.device_of(gradients):
        backward_kernel[pyramid.grid(blocks, tiles)](
            pyramid.maps,
            pyramid.levels,
            blocks,
            pyramid.table,
            scales,
            lines,
            grad_rows,
            moments,
            gradients,
            collected,
            pyramid.images,
            count,
            CHANNELS=pyramid.channels,
            BRANCHES=len(maps[0]),
            **tiles,
        )
        if rows:
            tiles = _tiles(pyramid.channels)
            blocks = pyramid.blocks(pyramid.upsampled_lengths, tiles["BLOCK_P"])
            finish_upsampled_kernel[pyramid.grid(blocks, tiles)](
                pyramid.maps,
                blocks,
                pyramid.table,
                moments,
                collected,
                gradients,
                pyramid.images,
                count,
                CHANNELS=pyramid.channels,
                **tiles,
            )
    return pyramid.as_maps(gradients)


_JOIN = {"BLOCK_S": MAX_PARTS, "BLOCK_C": 16, "num_warps": 4, "enable_fp_fusion": True}


class _Pyramid:
    """All maps as the kernels see them.

    Attributes:
        table: (rows, C) of all maps, in their order in memory.
        maps: (L * B, `triton_mix_reading.MAP_FIELDS`).
        levels: (L, `triton_mix_reading.LEVEL_FIELDS`).
        map_lengths, upsampled_lengths: positions of an image, of all maps and of those that are
            smaller than their level; 0 for all others.
        level_lengths: the same of every level.
        images, channels: N, C.
    """

    def __init__(self, maps: Maps, sizes: Sequence[Size]) -> None:
        flat = [image for level in maps for image in level]
        level_sizes = [size for size, level in zip(sizes, maps, strict=True) for _ in level]
        self.present = [index for index, image in enumerate(flat) if image is not None]
        images = [image for image in flat if image is not None]
        self.images, *_, self.channels = images[0].shape
        self.table, first_rows = join_rows(
            [image.flatten(0, 2) for image in images], any_order=True
        )
        self.shapes = [image.shape for image in images]
        self.first_rows = first_rows
        self.maps_per_level = len(maps[0])

        rows = [(0, 0, 0, *size, 0) for size in level_sizes]
        self.map_lengths, self.upsampled_lengths = [0] * len(flat), [0] * len(flat)
        collected = 0
        for index, first_row, image in zip(self.present, first_rows, images, strict=True):
            _, height, width, _ = image.shape
            rows[index] = (first_row, height, width, *level_sizes[index], collected)
            self.map_lengths[index] = height * width
            if (height, width) != tuple(level_sizes[index]):
                self.upsampled_lengths[index] = height * width
                collected += self.images * height * width
        self.level_lengths = [height * width for height, width in sizes]
        level_rows, first_row = [], 0
        for height, width in sizes:
            level_rows.append((first_row, height, width))
            first_row += self.images * height * width
        is_wide = max(len(self.table), first_row) * self.channels >= WIDE
        self.maps = device_table(tuple(rows), self.table, is_wide)
        self.levels = device_table(tuple(level_rows), self.table, is_wide)

    def blocks(self, lengths: Sequence[int], block: int) -> Tensor:
        """(blocks, 2): the map or level, and the first position, of each block."""
        return block_table(tuple(lengths), block, self.table)

    def parts(self, lengths: Sequence[int], block: int) -> tuple[int, Tensor, Tensor]:
        """Cut into as many parts as one kernel can join.

        Returns:
            The length of a part, a multiple of `block`; as from `blocks`, the parts; and of every
            map or level its first part and their number.
        """
        span = _blocks(_blocks(max(lengths), block), MAX_PARTS) * block
        ranges, first = [], 0
        for length in lengths:
            ranges.append((first, _blocks(length, span)))
            first += _blocks(length, span)
        return span, self.blocks(lengths, span), device_table(tuple(ranges), self.table)

    def grid(self, blocks: Tensor, tiles: dict[str, Any]) -> tuple[int, int, int]:
        return len(blocks), self.images, _blocks(self.channels, tiles["BLOCK_C"])

    def as_maps(self, table: Tensor) -> list[list[Tensor | None]]:
        """(rows, C) like `table` as L lists of B, without copies."""
        order = sorted(range(len(self.present)), key=self.first_rows.__getitem__)
        parts = split_rows(table, [self.shapes[index] for index in order])
        flat: list[Tensor | None] = [None] * len(self.map_lengths)
        for index, part in zip(order, parts, strict=True):
            flat[self.present[index]] = part
        starts = range(0, len(flat), self.maps_per_level)
        return [flat[start : start + self.maps_per_level] for start in starts]


WIDE = 2**31  # values; more need addresses of 64 bits


def _unfit(maps: Maps) -> bool:
    """Whether these maps are for plain PyTorch: double precision, nothing at all, or too many."""
    first = next(image for image in maps[0] if image is not None)
    return first.dtype == torch.float64 or not first.numel() or len(maps[0]) > MAX_BRANCHES


def _sizes(grads: Sequence[Tensor]) -> list[Size]:
    return [(grad.shape[1], grad.shape[2]) for grad in grads]


def _tiles(channels: int, values: int = TILE_VALUES) -> dict[str, Any]:
    """As many channels as there are, up to 256, and positions to fill the tile."""
    block = min(max(16, 1 << (channels - 1).bit_length()), 256)
    return {
        "BLOCK_P": values // block,
        "BLOCK_C": block,
        "num_warps": 8,
        "enable_fp_fusion": True,  # named, since Triton's default changes with its version
    }


def _blocks(length: int, block: int) -> int:
    return -(-length // block)
