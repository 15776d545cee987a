"""The Triton kernels of `triton_branch_mix`; importing this file needs Triton.

A program owns a tile of BLOCK_P positions and BLOCK_C channels of one image; where sums over
positions are wanted it walks over `span` positions, and a second, small kernel joins the S parts.

Shape letters: as in `branch_mix`.
"""

import triton
import triton.language as tl

from dyhead.ops.triton_mix_reading import (
    SIZES,
    image_row,
    line_gradients,
    place,
    read_mixed,
)


@triton.jit(do_not_specialize=SIZES)
def forward_kernel(
    branch0,
    branch1,
    branch2,
    scales,
    lines,
    output,
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
    """output = max of the two lines. Grid: (P blocks, N, C blocks)."""
    image, channel, _ = place(WIDE, 2, BLOCK_C)
    position = tl.program_id(0) * BLOCK_P + tl.arange(0, BLOCK_P)
    is_position = position < height * width
    _, _, _, mixed = read_mixed(
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
    value1 = mixed * image_row(lines, 1, images, image, channel, CHANNELS)
    value1 += image_row(lines, 2, images, image, channel, CHANNELS)
    value2 = mixed * image_row(lines, 3, images, image, channel, CHANNELS)
    value2 += image_row(lines, 4, images, image, channel, CHANNELS)
    row = image * height * width + position
    tl.store(
        output + row[:, None] * CHANNELS + channel[None, :],
        tl.maximum(value1, value2, propagate_nan=tl.PropagateNan.ALL).to(output.dtype.element_ty),
        mask=is_position[:, None] & (channel < CHANNELS)[None, :],
    )


@triton.jit(do_not_specialize=(*SIZES, "span"))
def reductions_kernel(
    grad_output,
    branch0,
    branch1,
    branch2,
    scales,
    lines,
    partial,
    span,
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
    """partial (S, 4 + B, N, C): g1 * z, g1, g2 * z, g2, and dz * up_b. Grid: (S, N, C blocks)."""
    image, channel, part = place(WIDE, 2, BLOCK_C)
    first_position = tl.program_id(0) * span
    slope1 = tl.zeros((BLOCK_P, BLOCK_C), dtype=tl.float32)
    offset1 = tl.zeros((BLOCK_P, BLOCK_C), dtype=tl.float32)
    slope2 = tl.zeros((BLOCK_P, BLOCK_C), dtype=tl.float32)
    offset2 = tl.zeros((BLOCK_P, BLOCK_C), dtype=tl.float32)
    scale0 = tl.zeros((BLOCK_P, BLOCK_C), dtype=tl.float32)
    scale1 = tl.zeros((BLOCK_P, BLOCK_C), dtype=tl.float32)
    scale2 = tl.zeros((BLOCK_P, BLOCK_C), dtype=tl.float32)
    last = tl.minimum(first_position + span, height * width)
    for start in range(first_position, last, BLOCK_P):
        position = start + tl.arange(0, BLOCK_P)
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
        first, second, grad_mixed = line_gradients(
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
        slope1 += first * mixed
        offset1 += first
        slope2 += second * mixed
        offset2 += second
        scale0 += grad_mixed * part0
        if BRANCHES > 1:
            scale1 += grad_mixed * part1
        if BRANCHES > 2:
            scale2 += grad_mixed * part2
    step = images * CHANNELS
    at = partial + (part * (4 + BRANCHES) * images + image) * CHANNELS + channel
    is_channel = channel < CHANNELS
    tl.store(at, tl.sum(slope1, axis=0), mask=is_channel)
    tl.store(at + step, tl.sum(offset1, axis=0), mask=is_channel)
    tl.store(at + 2 * step, tl.sum(slope2, axis=0), mask=is_channel)
    tl.store(at + 3 * step, tl.sum(offset2, axis=0), mask=is_channel)
    tl.store(at + 4 * step, tl.sum(scale0, axis=0), mask=is_channel)
    if BRANCHES > 1:
        tl.store(at + 5 * step, tl.sum(scale1, axis=0), mask=is_channel)
    if BRANCHES > 2:
        tl.store(at + 6 * step, tl.sum(scale2, axis=0), mask=is_channel)


@triton.jit
def _part_sum(partial, parts, index, row, images, channel, ROWS, CHANNELS, BLOCK_S):
    """The sum over S of one row of `partial`: (BLOCK_C,)."""
    part = tl.arange(0, BLOCK_S)
    at = partial + (((part * ROWS + index) * images + row) * CHANNELS)[:, None] + channel[None, :]
    wanted = (part < parts)[:, None] & (channel < CHANNELS)[None, :]
    return tl.sum(tl.load(at, mask=wanted, other=0.0), axis=0)


@triton.jit(do_not_specialize=("parts", "images"))
def join_reductions_kernel(
    partial,
    lines,
    grad_scales,
    grad_lines,
    parts,
    images,
    CHANNELS: tl.constexpr,
    BRANCHES: tl.constexpr,
    BLOCK_S: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    """The gradients of the coefficients from `partial`. Grid: (N, C blocks)."""
    image = tl.program_id(0)
    channel = tl.program_id(1) * BLOCK_C + tl.arange(0, BLOCK_C)
    is_channel = channel < CHANNELS
    step = images * CHANNELS
    here = image * CHANNELS + channel
    shift = tl.zeros((BLOCK_C,), dtype=tl.float32)
    for line in tl.static_range(4):
        total = _part_sum(
            partial, parts, line, image, images, channel, 4 + BRANCHES, CHANNELS, BLOCK_S
        )
        tl.store(grad_lines + (line + 1) * step + here, total, mask=is_channel)
        if line % 2 == 1:  # dz is what a line gets, times its slope
            shift += total * tl.load(lines + line * step + here, mask=is_channel, other=0.0)
    tl.store(grad_lines + here, shift, mask=is_channel)
    for branch in tl.static_range(BRANCHES):
        total = _part_sum(
            partial, parts, 4 + branch, image, images, channel, 4 + BRANCHES, CHANNELS, BLOCK_S
        )
        tl.store(grad_scales + branch * step + here, total, mask=is_channel)
