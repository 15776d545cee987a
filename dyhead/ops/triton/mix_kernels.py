"""Triton kernels of `branch_mix`: the mix, and the sums of its gradient.

One launch serves all levels, whose positions are cut into tiles, one level's after the other's. A
program owns a tile of BLOCK_P positions and BLOCK_C channels of one image; where sums over
positions are wanted it walks over `span` positions, and a second, small kernel joins the S parts.
Importing this file needs Triton.

Shape letters: as in `branch_mix`.
"""

import triton
import triton.language as tl

from dyhead.ops.triton.mix_reading import (
    LEVEL_FIELDS,
    MAP_FIELDS,
    POSITIONS,
    image_rows,
    linear_gradients,
    linear_values,
    read_mixed,
)
from dyhead.ops.triton.tile_scheduling import find_tile, tiles_of

# Of the sums over positions that `reductions_kernel` takes, those for DyReLU's linear functions.
LINEAR_SUMS = tl.constexpr(4)


@triton.jit(do_not_specialize=("images",))
def forward_kernel(
    maps,
    levels,
    table,
    scales,
    dyrelu,
    output,
    images,
    LEVELS: tl.constexpr,
    BRANCHES: tl.constexpr,
    CHANNELS: tl.constexpr,
    BLOCK_P: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    """Compute output = max of both linear functions. Grid: (tiles, N, C blocks)."""
    program = tl.program_id(0)
    level, first = find_tile(levels + POSITIONS, program, BLOCK_P, LEVEL_FIELDS, LEVELS)
    descriptor = levels + level * LEVEL_FIELDS
    positions = tl.load(descriptor + POSITIONS)
    image = tl.program_id(1)
    channel = tl.program_id(2) * BLOCK_C + tl.arange(0, BLOCK_C)
    position = first + tl.arange(0, BLOCK_P)
    is_position = position < positions
    _, _, _, mixed = read_mixed(
        table,
        maps,
        scales,
        dyrelu,
        level,
        images,
        image,
        position,
        is_position,
        channel,
        CHANNELS,
        BRANCHES,
    )
    value1, value2 = linear_values(dyrelu, level, mixed, images, image, channel, CHANNELS)
    row = image_rows(descriptor, image, position)
    tl.store(
        output + row[:, None] * CHANNELS + channel[None, :],
        # A NaN stays one, as with torch.maximum: a mistake must not look like a value.
        tl.maximum(value1, value2, propagate_nan=tl.PropagateNan.ALL).to(output.dtype.element_ty),
        mask=is_position[:, None] & (channel < CHANNELS)[None, :],
    )


@triton.jit(do_not_specialize=("images", "span"))
def reductions_kernel(
    maps,
    levels,
    table,
    scales,
    dyrelu,
    grad_output,
    partial,
    images,
    span,
    LEVELS: tl.constexpr,
    BRANCHES: tl.constexpr,
    CHANNELS: tl.constexpr,
    BLOCK_P: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    """Compute partial (S, LINEAR_SUMS + B, N, C): sums of g1 * z, g1, g2 * z, g2, and dz * up_b.

    Grid: (S, N, C blocks).
    """
    part = tl.program_id(0)
    level, first_position = find_tile(levels + POSITIONS, part, span, LEVEL_FIELDS, LEVELS)
    descriptor = levels + level * LEVEL_FIELDS
    positions = tl.load(descriptor + POSITIONS).to(tl.int32)
    image = tl.program_id(1)
    channel = tl.program_id(2) * BLOCK_C + tl.arange(0, BLOCK_C)
    # Sums of each place of the tile, which are added up once at the end: adding across threads in
    # every step would cost more than the step. Each has a name: Triton has no lists of tensors.
    slope1 = tl.zeros((BLOCK_P, BLOCK_C), dtype=tl.float32)
    intercept1 = tl.zeros((BLOCK_P, BLOCK_C), dtype=tl.float32)
    slope2 = tl.zeros((BLOCK_P, BLOCK_C), dtype=tl.float32)
    intercept2 = tl.zeros((BLOCK_P, BLOCK_C), dtype=tl.float32)
    scale0 = tl.zeros((BLOCK_P, BLOCK_C), dtype=tl.float32)
    scale1 = tl.zeros((BLOCK_P, BLOCK_C), dtype=tl.float32)
    scale2 = tl.zeros((BLOCK_P, BLOCK_C), dtype=tl.float32)
    last = tl.minimum(first_position + span, positions)
    for start in range(first_position, last, BLOCK_P):
        position = start + tl.arange(0, BLOCK_P)
        is_position = position < positions
        part0, part1, part2, mixed = read_mixed(
            table,
            maps,
            scales,
            dyrelu,
            level,
            images,
            image,
            position,
            is_position,
            channel,
            CHANNELS,
            BRANCHES,
        )
        first, second, grad_mixed = linear_gradients(
            grad_output,
            dyrelu,
            level,
            mixed,
            images,
            image,
            channel,
            image_rows(descriptor, image, position),
            is_position,
            CHANNELS,
        )
        slope1 += first * mixed
        intercept1 += first
        slope2 += second * mixed
        intercept2 += second
        scale0 += grad_mixed * part0
        if BRANCHES > 1:
            scale1 += grad_mixed * part1
        if BRANCHES > 2:
            scale2 += grad_mixed * part2
    # Parts are stored, not added atomically: the same sums come out bit by bit in every run.
    step = images * CHANNELS
    row = part.to(tl.int64) * (LINEAR_SUMS + BRANCHES)
    at = partial + (row * images + image) * CHANNELS + channel
    is_channel = channel < CHANNELS
    tl.store(at, tl.sum(slope1, axis=0), mask=is_channel)
    tl.store(at + step, tl.sum(intercept1, axis=0), mask=is_channel)
    tl.store(at + 2 * step, tl.sum(slope2, axis=0), mask=is_channel)
    tl.store(at + 3 * step, tl.sum(intercept2, axis=0), mask=is_channel)
    tl.store(at + 4 * step, tl.sum(scale0, axis=0), mask=is_channel)
    if BRANCHES > 1:
        tl.store(at + 5 * step, tl.sum(scale1, axis=0), mask=is_channel)
    if BRANCHES > 2:
        tl.store(at + 6 * step, tl.sum(scale2, axis=0), mask=is_channel)


@triton.jit
def _part_sum(partial, first, parts, index, row, images, channel, ROWS, CHANNELS, BLOCK_S):
    """Sum one row of `partial` over the parts of a level: (BLOCK_C,)."""
    part = tl.arange(0, BLOCK_S)
    at = ((first.to(tl.int64) + part) * ROWS + index) * images + row
    wanted = (part < parts)[:, None] & (channel < CHANNELS)[None, :]
    values = tl.load(partial + (at * CHANNELS)[:, None] + channel[None, :], mask=wanted, other=0.0)
    return tl.sum(values, axis=0)


@triton.jit(do_not_specialize=("images", "span"))
def join_reductions_kernel(
    maps,
    levels,
    partial,
    dyrelu,
    grad_scales,
    grad_dyrelu,
    images,
    span,
    LEVELS: tl.constexpr,
    BRANCHES: tl.constexpr,
    CHANNELS: tl.constexpr,
    BLOCK_S: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    """The gradients of the coefficients from `partial`. Grid: (L, N, C blocks)."""
    level, image = tl.program_id(0), tl.program_id(1)
    first, parts = tiles_of(levels + POSITIONS, level, span, LEVEL_FIELDS, LEVELS)
    channel = tl.program_id(2) * BLOCK_C + tl.arange(0, BLOCK_C)
    is_channel = channel < CHANNELS
    step = images * CHANNELS
    at = grad_dyrelu + (5 * level * images + image) * CHANNELS + channel
    shift = tl.zeros((BLOCK_C,), dtype=tl.float32)
    for term in tl.static_range(4):
        total = _part_sum(
            partial,
            first,
            parts,
            term,
            image,
            images,
            channel,
            LINEAR_SUMS + BRANCHES,
            CHANNELS,
            BLOCK_S,
        )
        tl.store(at + (term + 1) * step, total, mask=is_channel)
        if term % 2 == 1:  # dz: a linear function's gradient times its slope
            slope_at = dyrelu + ((5 * level + term) * images + image) * CHANNELS + channel
            shift += total * tl.load(slope_at, mask=is_channel, other=0.0)
    tl.store(at, shift, mask=is_channel)
    for branch in tl.static_range(BRANCHES):
        total = _part_sum(
            partial,
            first,
            parts,
            LINEAR_SUMS + branch,
            image,
            images,
            channel,
            LINEAR_SUMS + BRANCHES,
            CHANNELS,
            BLOCK_S,
        )
        index = level * BRANCHES + branch
        is_there = tl.load(maps + index * MAP_FIELDS + POSITIONS) > 0
        at = grad_scales + (index * images + image) * CHANNELS + channel
        tl.store(at, tl.where(is_there, total, 0.0), mask=is_channel)
