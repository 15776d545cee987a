"""Moments of maps' channels in Triton: in passes of their own, or of what a kernel writes.

Importing this file needs Triton.

Shape letters: as in `branch_mix`; S parts of the positions of all maps.
"""

import triton
import triton.language as tl

from dyhead.ops.triton.mix_reading import (
    LEVEL_HEIGHT,
    LEVEL_WIDTH,
    MAP_FIELDS,
    POSITIONS,
    image_rows,
    is_upsampled,
    read_rows,
    size_of,
)
from dyhead.ops.triton.tile_scheduling import find_tile, tiles_of


@triton.jit
def _pooling_weight(at, length, target):
    """Weigh position `at` as it counts in the sum over `target` upsampled ones."""
    # With corners aligned, upsampled position t lies at t * steps / gaps; those within one position
    # of `at` take a share of it that falls linearly with their distance.
    gaps = tl.maximum(target - 1, 1)
    steps = tl.maximum(length - 1, 1)
    first = tl.maximum((at - 1) * gaps // steps, 0)
    weight = tl.zeros(at.shape, dtype=tl.float32)
    for step in range((2 * gaps // steps + 2).to(tl.int32)):
        distance = tl.abs((first + step) * steps - at * gaps)
        is_near = (distance < gaps) & (first + step < target)
        weight += tl.where(is_near, 1 - distance.to(tl.float32) / gaps, 0.0)
    return tl.where(length > 1, weight, target * 1.0)


@triton.jit(do_not_specialize=("images", "span"))
def moments_kernel(
    maps,
    table,
    partial,
    images,
    span,
    MAPS: tl.constexpr,
    CHANNELS: tl.constexpr,
    BLOCK_P: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    """Compute partial (S, 3, N, C) of each part of the maps' positions.

    The three are the mean, the squared distances from it, and the sum of the map as upsampled to
    the level's size. Grid: (S, N, C blocks). Every place of the tile follows the mean and the
    squares of its own positions (Welford, 1962), so that nothing large is subtracted.
    """
    part = tl.program_id(0)
    index, first = find_tile(maps + POSITIONS, part, span, MAP_FIELDS, MAPS)
    descriptor = maps + index * MAP_FIELDS
    positions = tl.load(descriptor + POSITIONS).to(tl.int32)
    image = tl.program_id(1)
    channel = tl.program_id(2) * BLOCK_C + tl.arange(0, BLOCK_C)
    mean = tl.zeros((BLOCK_P, BLOCK_C), dtype=tl.float32)
    squares = tl.zeros((BLOCK_P, BLOCK_C), dtype=tl.float32)
    pooled = tl.zeros((BLOCK_P, BLOCK_C), dtype=tl.float32)
    count = tl.zeros((BLOCK_P,), dtype=tl.float32)
    for start in range(first, tl.minimum(first + span, positions), BLOCK_P):
        position = start + tl.arange(0, BLOCK_P)
        is_position = position < positions
        row = image_rows(descriptor, image, position)
        values = read_rows(table, row, is_position, channel, CHANNELS)
        count += is_position.to(tl.float32)
        step = tl.where(is_position[:, None], values - mean, 0.0)
        mean += step / tl.maximum(count, 1.0)[:, None]
        squares += step * (values - mean)
        if is_upsampled(descriptor):
            pooled += values * _pooling_weights(descriptor, position)[:, None]
    # The places' moments join as in Chan, Golub, LeVeque (1979).
    total = tl.maximum(tl.sum(count, axis=0), 1.0)
    joint = tl.sum(mean * count[:, None], axis=0) / total
    distance = mean - joint[None, :]
    squares = tl.sum(squares + distance * distance * count[:, None], axis=0)
    pooled = tl.sum(pooled, axis=0)
    _store_part(partial, joint, squares, pooled, part, images, image, channel, CHANNELS)


@triton.jit
def store_moments_of_rows(
    descriptor,
    table,
    partial,
    row,
    part,
    images,
    image,
    position,
    is_position,
    first_channel,
    CHANNELS: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    """Write one part of `partial` (S, 3, N, C), as `moments_kernel` does, for BLOCK_C channels.

    Args:
        table: (rows, C), of which this program has just written `row`. Reading it again from the
            cache takes fewer registers than keeping it, and fewer exchanges between threads than
            summing it as a matrix product leaves it.
        position, is_position: of an image of the map.
    """
    tl.debug_barrier()  # what one thread wrote another one reads
    count = tl.sum(is_position.to(tl.float32), axis=0)
    slice_length: tl.constexpr = BLOCK_C if BLOCK_C < 128 else 128
    for start in tl.static_range(0, BLOCK_C, slice_length):
        channel = first_channel + start + tl.arange(0, slice_length)
        values = read_rows(table, row, is_position, channel, CHANNELS)
        mean = tl.sum(values, axis=0) / count
        distance = tl.where(is_position[:, None], values - mean[None, :], 0.0)
        squares = tl.sum(distance * distance, axis=0)
        pooled = tl.zeros_like(mean)
        if is_upsampled(descriptor):
            pooled = tl.sum(values * _pooling_weights(descriptor, position)[:, None], axis=0)
        _store_part(partial, mean, squares, pooled, part, images, image, channel, CHANNELS)


@triton.jit
def _pooling_weights(descriptor, position):
    """Weigh positions of a map as they count in the sum over its level's."""
    height, width = size_of(descriptor)
    weight = _pooling_weight(position // width, height, tl.load(descriptor + LEVEL_HEIGHT))
    return weight * _pooling_weight(position % width, width, tl.load(descriptor + LEVEL_WIDTH))


@triton.jit
def _store_part(
    partial, mean, squares, pooled, part, images, image, channel, CHANNELS: tl.constexpr
):
    at = partial + (part.to(tl.int64) * 3 * images + image) * CHANNELS + channel
    is_channel = channel < CHANNELS
    tl.store(at, mean, mask=is_channel)
    tl.store(at + images * CHANNELS, squares, mask=is_channel)
    tl.store(at + 2 * images * CHANNELS, pooled, mask=is_channel)


@triton.jit(do_not_specialize=("images", "span"))
def join_moments_kernel(
    maps,
    partial,
    moments,
    images,
    span,
    MAPS: tl.constexpr,
    CHANNELS: tl.constexpr,
    BLOCK_S: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    """Join `partial` to moments (maps, 3, N, C); those of a map that is not there are zero.

    Grid: (maps, N, C blocks).
    """
    index, image = tl.program_id(0), tl.program_id(1)
    descriptor = maps + index * MAP_FIELDS
    length = tl.load(descriptor + POSITIONS)
    positions = tl.maximum(length, 1).to(tl.float32)
    first, parts = tiles_of(maps + POSITIONS, index, span, MAP_FIELDS, MAPS)
    channel = tl.program_id(2) * BLOCK_C + tl.arange(0, BLOCK_C)
    origin_at = partial + (first.to(tl.int64) * 3 * images + image) * CHANNELS + channel
    origin = tl.load(origin_at, mask=channel < CHANNELS * tl.minimum(parts, 1), other=0.0)
    step = tl.zeros_like(origin)  # from there to the mean: what is small loses little by rounding
    for start in range(0, parts, BLOCK_S):
        part = start + tl.arange(0, BLOCK_S)
        at, wanted = _parts_at(partial, first, part, parts, images, image, channel, CHANNELS)
        distance = tl.where(wanted, tl.load(at, mask=wanted, other=0.0) - origin[None, :], 0.0)
        step += tl.sum(distance * _counts(length, part, span)[:, None], axis=0) / positions
    mean = origin + step
    variance, pooled = tl.zeros_like(mean), tl.zeros_like(mean)
    up_positions = tl.load(descriptor + LEVEL_HEIGHT) * tl.load(descriptor + LEVEL_WIDTH)
    up_positions = tl.maximum(up_positions, 1).to(tl.float32)
    for start in range(0, parts, BLOCK_S):
        part = start + tl.arange(0, BLOCK_S)
        at, wanted = _parts_at(partial, first, part, parts, images, image, channel, CHANNELS)
        distance = tl.where(wanted, tl.load(at, mask=wanted, other=0.0) - mean[None, :], 0.0)
        squares = tl.load(at + images * CHANNELS, mask=wanted, other=0.0)
        # Squared distances from a part's own mean become those from the mean of all.
        squares += distance * distance * _counts(length, part, span)[:, None]
        variance += tl.sum(squares, axis=0) / positions
        sums = tl.load(at + 2 * images * CHANNELS, mask=wanted, other=0.0)
        pooled += tl.sum(sums, axis=0) / up_positions
    into = moments + (index * 3 * images + image) * CHANNELS + channel
    is_channel = channel < CHANNELS
    tl.store(into, mean, mask=is_channel)
    tl.store(into + images * CHANNELS, variance, mask=is_channel)
    pooled = tl.where(is_upsampled(descriptor), pooled, mean)
    tl.store(into + 2 * images * CHANNELS, pooled, mask=is_channel)


@triton.jit
def _parts_at(partial, first, part, parts, images, image, channel, CHANNELS: tl.constexpr):
    """Address the means of some parts of a map, which begin with part `first` of all maps."""
    row = (first.to(tl.int64) + part) * 3 * images + image
    at = partial + (row * CHANNELS)[:, None] + channel[None, :]
    return at, (part < parts)[:, None] & (channel < CHANNELS)[None, :]


@triton.jit
def _counts(length, part, span):
    """Count the positions of parts of a map."""
    return tl.maximum(tl.minimum(length - part * span, span), 0).to(tl.float32)
