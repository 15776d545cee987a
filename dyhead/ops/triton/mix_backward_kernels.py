"""The Triton kernels of `branch_mix.mix_backward`; importing this file needs Triton.

Shape letters: as in `branch_mix`; a tile has BLOCK_P positions and BLOCK_C channels of one image.
"""

import triton
import triton.language as tl

from dyhead.ops.triton.mix_reading import (
    COLLECTED_ROW,
    LEVEL_FIELDS,
    MAP_FIELDS,
    POSITIONS,
    UPSAMPLED_POSITIONS,
    corner_rows,
    image_row,
    image_rows,
    is_upsampled,
    linear_gradients,
    read_mixed,
    read_rows,
    scale_row,
)
from dyhead.ops.triton.tile_scheduling import find_tile


@triton.jit
def _add_rows(table, row, values, wanted, channel, CHANNELS: tl.constexpr):
    """Add to rows that other programs add to as well."""
    at = table + row[:, None] * CHANNELS + channel[None, :]
    tl.atomic_add(at, values, mask=wanted, sem="relaxed")


@triton.jit
def _write_gradient(
    gradients,
    collected,
    maps,
    index,
    part,
    grad_mixed,
    scales,
    moments,
    images,
    image,
    position,
    is_position,
    channel,
    COUNT: tl.constexpr,
    CHANNELS: tl.constexpr,
):
    """One map's gradient, whole; of an upsampled map what the mix gives, added up."""
    descriptor = maps + index * MAP_FIELDS
    is_channel = (channel < CHANNELS)[None, :]
    through = grad_mixed * scale_row(scales, index, descriptor, images, image, channel, CHANNELS)
    through += image_row(moments, index, images, image, channel, CHANNELS)
    if is_upsampled(descriptor):
        first_row = tl.load(descriptor + COLLECTED_ROW)
        a_row, b_row, c_row, d_row, share_y, share_x = corner_rows(
            descriptor, first_row, image, position
        )
        # The transpose of the interpolation: each corner gets the share that it gave.
        wanted = is_position[:, None] & is_channel
        lower = through * share_y[:, None]
        upper = through - lower
        _add_rows(collected, a_row, upper * (1 - share_x)[:, None], wanted, channel, CHANNELS)
        _add_rows(collected, b_row, upper * share_x[:, None], wanted, channel, CHANNELS)
        _add_rows(collected, c_row, lower * (1 - share_x)[:, None], wanted, channel, CHANNELS)
        _add_rows(collected, d_row, lower * share_x[:, None], wanted, channel, CHANNELS)
    else:
        through += image_row(moments, COUNT + index, images, image, channel, CHANNELS)
        through += part * image_row(moments, 2 * COUNT + index, images, image, channel, CHANNELS)
        is_there = is_position & (
            position < tl.load(descriptor + POSITIONS)
        )  # nowhere, if there is no map
        row = image_rows(descriptor, image, position)
        tl.store(
            gradients + row[:, None] * CHANNELS + channel[None, :],
            through.to(gradients.dtype.element_ty),
            mask=is_there[:, None] & is_channel,
        )


@triton.jit(do_not_specialize=("images",))
def backward_kernel(
    maps,
    levels,
    table,
    scales,
    dyrelu,
    grad_output,
    moments,
    gradients,
    collected,
    images,
    LEVELS: tl.constexpr,
    BRANCHES: tl.constexpr,
    CHANNELS: tl.constexpr,
    BLOCK_P: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    """Gradients of the maps; of upsampled ones, in `collected`, only what the mix gives.

    Grid: (blocks, N, C blocks). moments: (3, L, B, N, C).
    """
    program = tl.program_id(0)
    level, first = find_tile(levels + POSITIONS, program, BLOCK_P, LEVEL_FIELDS, LEVELS)
    descriptor = levels + level * LEVEL_FIELDS
    image = tl.program_id(1)
    channel = tl.program_id(2) * BLOCK_C + tl.arange(0, BLOCK_C)
    position = first + tl.arange(0, BLOCK_P)
    is_position = position < tl.load(descriptor + POSITIONS)
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
    _, _, grad_mixed = linear_gradients(
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
    for branch in tl.static_range(BRANCHES):
        # Unrolled, so that the compiler knows which one it is.
        part = part0
        if branch == 1:
            part = part1
        if branch == 2:
            part = part2
        _write_gradient(
            gradients,
            collected,
            maps,
            level * BRANCHES + branch,
            part,
            grad_mixed,
            scales,
            moments,
            images,
            image,
            position,
            is_position,
            channel,
            LEVELS * BRANCHES,
            CHANNELS,
        )


@triton.jit(do_not_specialize=("images",))
def finish_upsampled_kernel(
    maps,
    table,
    moments,
    collected,
    gradients,
    images,
    LEVELS: tl.constexpr,
    BRANCHES: tl.constexpr,
    CHANNELS: tl.constexpr,
    BLOCK_P: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    """Compute gradient = collected + constant + slope * y, of upsampled maps.

    Grid: (blocks, N, C blocks); the blocks are those of upsampled maps alone.
    """
    count: tl.constexpr = LEVELS * BRANCHES
    lengths = maps + UPSAMPLED_POSITIONS
    index, first = find_tile(lengths, tl.program_id(0), BLOCK_P, MAP_FIELDS, count)
    descriptor = maps + index * MAP_FIELDS
    positions = tl.load(descriptor + POSITIONS)
    image = tl.program_id(1)
    channel = tl.program_id(2) * BLOCK_C + tl.arange(0, BLOCK_C)
    position = first + tl.arange(0, BLOCK_P)
    is_position = position < positions
    collected_row = tl.load(descriptor + COLLECTED_ROW) + image * positions + position
    row = image_rows(descriptor, image, position)
    # Only now is the sum rounded, to the maps' type.
    total = read_rows(collected, collected_row, is_position, channel, CHANNELS)
    total += image_row(moments, count + index, images, image, channel, CHANNELS)
    values = read_rows(table, row, is_position, channel, CHANNELS)
    total += values * image_row(moments, 2 * count + index, images, image, channel, CHANNELS)
    tl.store(
        gradients + row[:, None] * CHANNELS + channel[None, :],
        total.to(gradients.dtype.element_ty),
        mask=is_position[:, None] & (channel < CHANNELS)[None, :],
    )
