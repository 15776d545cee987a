"""The Triton kernels of `triton_branch_mix.channel_moments`; importing this file needs Triton.

Shape letters: as in `branch_mix`; S parts of the positions.
"""

import triton
import triton.language as tl

from dyhead.ops.triton_mix_reading import (
    SIZES,
    place,
    read_rows,
)


@triton.jit
def _pooling_weight(at, length, target):
    """How much position `at` counts in the sum over `target` upsampled ones."""
    gaps = tl.maximum(target - 1, 1)
    steps = tl.maximum(length - 1, 1)
    first = tl.maximum((at - 1) * gaps // steps, 0)
    weight = tl.zeros(at.shape, dtype=tl.float32)
    for step in range(2 * gaps // steps + 2):
        distance = tl.abs((first + step) * steps - at * gaps)
        is_near = (distance < gaps) & (first + step < target)
        weight += tl.where(is_near, 1 - distance.to(tl.float32) / gaps, 0.0)
    return tl.where(length > 1, weight, target * 1.0)


@triton.jit(do_not_specialize=(*SIZES, "span"))
def moments_kernel(
    image_map,
    partial,
    span,
    images,
    height,
    width,
    height0,
    width0,
    CHANNELS: tl.constexpr,
    UPSAMPLED: tl.constexpr,
    WIDE: tl.constexpr,
    BLOCK_P: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    """partial (S, 3, N, C): mean, squared distances from it, sum as upsampled to height x width.

    Grid: (S, N, C blocks). The map is height0 x width0. Every place of the tile follows the mean
    and the squares of its own positions (Welford, 1962), so that nothing large is subtracted.
    """
    image, channel, row = place(WIDE, 2, BLOCK_C)
    first = tl.program_id(0) * span
    positions = height0 * width0
    mean = tl.zeros((BLOCK_P, BLOCK_C), dtype=tl.float32)
    squares = tl.zeros((BLOCK_P, BLOCK_C), dtype=tl.float32)
    pooled = tl.zeros((BLOCK_P, BLOCK_C), dtype=tl.float32)
    count = tl.zeros((BLOCK_P,), dtype=tl.float32)
    for start in range(first, tl.minimum(first + span, positions), BLOCK_P):
        position = start + tl.arange(0, BLOCK_P)
        is_position = position < positions
        values = read_rows(image_map, image * positions + position, is_position, channel, CHANNELS)
        count += is_position.to(tl.float32)
        step = tl.where(is_position[:, None], values - mean, 0.0)
        mean += step / tl.maximum(count, 1.0)[:, None]
        squares += step * (values - mean)
        if UPSAMPLED:
            weight = _pooling_weight(position // width0, height0, height)
            weight *= _pooling_weight(position % width0, width0, width)
            pooled += values * weight[:, None]
    total = tl.maximum(tl.sum(count, axis=0), 1.0)
    joint = tl.sum(mean * count[:, None], axis=0) / total
    distance = mean - joint[None, :]
    squares += distance * distance * count[:, None]
    at = partial + (row * 3 * images + image) * CHANNELS + channel
    is_channel = channel < CHANNELS
    tl.store(at, joint, mask=is_channel)
    tl.store(at + images * CHANNELS, tl.sum(squares, axis=0), mask=is_channel)
    tl.store(at + 2 * images * CHANNELS, tl.sum(pooled, axis=0), mask=is_channel)


@triton.jit(do_not_specialize=("parts", "span", "positions", "up_positions", "images"))
def join_moments_kernel(
    partial,
    moments,
    parts,
    span,
    positions,
    up_positions,
    images,
    CHANNELS: tl.constexpr,
    UPSAMPLED: tl.constexpr,
    BLOCK_S: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    """moments (3, N, C) from `partial` of `moments_kernel`. Grid: (N, C blocks)."""
    image = tl.program_id(0)
    channel = tl.program_id(1) * BLOCK_C + tl.arange(0, BLOCK_C)
    is_channel = channel < CHANNELS
    part = tl.arange(0, BLOCK_S)
    at = partial + ((part * 3 * images + image) * CHANNELS)[:, None] + channel[None, :]
    wanted = (part < parts)[:, None] & is_channel[None, :]
    count = tl.maximum(tl.minimum(positions - part * span, span), 0).to(tl.float32)[:, None]
    means = tl.load(at, mask=wanted, other=0.0)
    mean = tl.sum(means * count, axis=0) / positions
    distance = tl.where(wanted, means - mean[None, :], 0.0)
    squares = tl.load(at + images * CHANNELS, mask=wanted, other=0.0)
    variance = tl.sum(squares + distance * distance * count, axis=0) / positions
    pooled = mean
    if UPSAMPLED:
        sums = tl.load(at + 2 * images * CHANNELS, mask=wanted, other=0.0)
        pooled = tl.sum(sums, axis=0) / up_positions
    into = moments + image * CHANNELS + channel
    tl.store(into, mean, mask=is_channel)
    tl.store(into + images * CHANNELS, variance, mask=is_channel)
    tl.store(into + 2 * images * CHANNELS, pooled, mask=is_channel)
