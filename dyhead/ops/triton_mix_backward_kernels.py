"""The Triton kernels of `triton_branch_mix.mix_backward`; importing this file needs Triton.

Shape letters: as in `branch_mix`; a tile has BLOCK_P positions and BLOCK_C channels of one image.
"""

import triton
import triton.language as tl

from dyhead.ops.triton_mix_reading import (
    SIZES,
    image_row,
    line_gradients,
    neighbours,
    place,
    read_mixed,
    read_rows,
)


@triton.jit
def _add_rows(table, row, values, wanted, channel, CHANNELS: tl.constexpr):
    """Add to rows that other programs add to as well."""
    at = table + row[:, None] * CHANNELS + channel[None, :]
    tl.atomic_add(at, values, mask=wanted, sem="relaxed")


@triton.jit
def _write_gradient(
    gradient,
    part,
    through_mix,
    moments,
    index,
    images,
    image,
    position,
    is_position,
    channel,
    height,
    width,
    branch_height,
    branch_width,
    CHANNELS: tl.constexpr,
    BRANCHES: tl.constexpr,
    SAME: tl.constexpr,
):
    """One branch's gradient, whole; of a smaller branch what the mix gives, added up."""
    is_channel = (channel < CHANNELS)[None, :]
    through_mix += image_row(moments, index, images, image, channel, CHANNELS)
    if SAME:
        through_mix += image_row(moments, BRANCHES + index, images, image, channel, CHANNELS)
        through_mix += part * image_row(
            moments, 2 * BRANCHES + index, images, image, channel, CHANNELS
        )
        row = image * height * width + position
        tl.store(
            gradient + row[:, None] * CHANNELS + channel[None, :],
            through_mix.to(gradient.dtype.element_ty),
            mask=is_position[:, None] & is_channel,
        )
    else:
        above, below, share_y = neighbours(position // width, branch_height, height)
        left, right, share_x = neighbours(position % width, branch_width, width)
        wanted = is_position[:, None] & is_channel
        lower = through_mix * share_y[:, None]
        upper = through_mix - lower
        above = (image * branch_height + above) * branch_width
        below = (image * branch_height + below) * branch_width
        _add_rows(gradient, above + left, upper * (1 - share_x)[:, None], wanted, channel, CHANNELS)
        _add_rows(gradient, above + right, upper * share_x[:, None], wanted, channel, CHANNELS)
        _add_rows(gradient, below + left, lower * (1 - share_x)[:, None], wanted, channel, CHANNELS)
        _add_rows(gradient, below + right, lower * share_x[:, None], wanted, channel, CHANNELS)


@triton.jit(do_not_specialize=SIZES)
def backward_kernel(
    grad_output,
    branch0,
    branch1,
    branch2,
    scales,
    lines,
    moments,
    gradient0,
    gradient1,
    gradient2,
    images,
    height,
    width,
    height0,
    width0,
    height1,
    width1,
    height2,
    width2,
    CHANNELS: tl.constexpr,
    BRANCHES: tl.constexpr,
    SAME0: tl.constexpr,
    SAME1: tl.constexpr,
    SAME2: tl.constexpr,
    WIDE: tl.constexpr,
    BLOCK_P: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    """Gradients of the branches; of smaller ones, float32 and zeroed, only what the mix gives.

    Grid: (P blocks, N, C blocks). moments: (3, B, N, C).
    """
    image, channel, _ = place(WIDE, 2, BLOCK_C)
    position = tl.program_id(0) * BLOCK_P + tl.arange(0, BLOCK_P)
    is_position = position < height * width
    part0, part1, part2, mixed = read_mixed(
        branch0,
        branch1,
        branch2,
        scales,
        lines,
        image,
        position,
        is_position,
        channel,
        images,
        height,
        width,
        height0,
        width0,
        height1,
        width1,
        height2,
        width2,
        CHANNELS,
        BRANCHES,
        SAME0,
        SAME1,
        SAME2,
    )
    _, _, grad_mixed = line_gradients(
        grad_output,
        lines,
        mixed,
        images,
        image,
        channel,
        image * height * width + position,
        is_position,
        CHANNELS,
    )
    _write_gradient(
        gradient0,
        part0,
        grad_mixed * image_row(scales, 0, images, image, channel, CHANNELS),
        moments,
        0,
        images,
        image,
        position,
        is_position,
        channel,
        height,
        width,
        height0,
        width0,
        CHANNELS,
        BRANCHES,
        SAME0,
    )
    if BRANCHES > 1:
        _write_gradient(
            gradient1,
            part1,
            grad_mixed * image_row(scales, 1, images, image, channel, CHANNELS),
            moments,
            1,
            images,
            image,
            position,
            is_position,
            channel,
            height,
            width,
            height1,
            width1,
            CHANNELS,
            BRANCHES,
            SAME1,
        )
    if BRANCHES > 2:
        _write_gradient(
            gradient2,
            part2,
            grad_mixed * image_row(scales, 2, images, image, channel, CHANNELS),
            moments,
            2,
            images,
            image,
            position,
            is_position,
            channel,
            height,
            width,
            height2,
            width2,
            CHANNELS,
            BRANCHES,
            SAME2,
        )


@triton.jit(do_not_specialize=("images", "positions"))
def finish_upsampled_kernel(
    collected,
    branch,
    constant,
    slope,
    gradient,
    images,
    positions,
    CHANNELS: tl.constexpr,
    WIDE: tl.constexpr,
    BLOCK_P: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    """gradient = collected + constant + slope * branch. Grid: (P blocks, N, C blocks)."""
    image, channel, _ = place(WIDE, 2, BLOCK_C)
    position = tl.program_id(0) * BLOCK_P + tl.arange(0, BLOCK_P)
    is_position = position < positions
    row = image * positions + position
    total = read_rows(collected, row, is_position, channel, CHANNELS)
    total += image_row(constant, 0, images, image, channel, CHANNELS)
    values = read_rows(branch, row, is_position, channel, CHANNELS)
    total += values * image_row(slope, 0, images, image, channel, CHANNELS)
    tl.store(
        gradient + row[:, None] * CHANNELS + channel[None, :],
        total.to(gradient.dtype.element_ty),
        mask=is_position[:, None] & (channel < CHANNELS)[None, :],
    )
