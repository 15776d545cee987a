"""The Triton kernels of `deform_conv`; importing this file needs Triton.

One launch serves several convolutions. Everything is a table with channels side by side: the inputs
(R, C), the outputs and their gradients (P, O), the kernels (W, O, K, C); `planes` is the memory of
all offsets and masks. `descriptors` tells the part of each of COUNT convolutions in them. The
positions of all convolutions are cut into tiles of BLOCK_P, one convolution's after the other's.
Columns exist only as tiles in registers and shared memory.

Shape letters: P output positions of all convolutions, R input pixels, K taps, W kernels; a tile has
BLOCK_P positions, BLOCK_C input channels and BLOCK_O output channels.
"""

import triton
import triton.language as tl

from dyhead.ops.triton.mix_reading import MAP_FIELDS
from dyhead.ops.triton.moments_kernels import store_moments_of_rows
from dyhead.ops.triton.sampling import (
    FIRST_POSITION,
    FIRST_ROW,
    HEIGHT,
    KERNEL,
    MASK,
    OFFSET,
    OUT_SIZE,
    WIDTH,
    add_product,
    convolution_tile,
    corners,
    first_tap,
    gather,
    image_tile,
    locate,
    planes_at,
    read_tap,
    sample_columns,
    shares,
)


@triton.jit
def forward_kernel(
    descriptors,
    table,
    planes,
    kernels,
    biases,
    output,
    maps,
    partial,
    COUNT: tl.constexpr,
    CHANNELS: tl.constexpr,
    OUTPUTS: tl.constexpr,
    TAPS: tl.constexpr,
    KERNEL_X: tl.constexpr,
    PADDING_Y: tl.constexpr,
    PADDING_X: tl.constexpr,
    DILATION_Y: tl.constexpr,
    DILATION_X: tl.constexpr,
    HAS_BIAS: tl.constexpr,
    HAS_MOMENTS: tl.constexpr,
    PRECISION: tl.constexpr,
    BLOCK_P: tl.constexpr,
    BLOCK_C: tl.constexpr,
    BLOCK_O: tl.constexpr,
):
    """Compute output = columns @ kernel^T + bias. Grid: (blocks, O blocks).

    With HAS_MOMENTS blocks are those of one image, all images are the grid's third axis, and
    partial (blocks, 3, images, O) gets what `join_moments_kernel` joins, of the values as they are
    rounded; `maps` are the descriptors of the outputs as maps.
    """
    block = tl.program_id(0)
    if HAS_MOMENTS:
        index, descriptor, image, pixel, is_position = image_tile(
            descriptors, block, tl.program_id(2), COUNT, BLOCK_P
        )
        y, x = first_tap(descriptor, pixel, PADDING_Y, PADDING_X)
    else:
        descriptor, position, is_position = convolution_tile(descriptors, block, COUNT, BLOCK_P)
        image, pixel, y, x = locate(descriptor, position, PADDING_Y, PADDING_X)
    offset_at, offset_channel = planes_at(descriptor, OFFSET, image, pixel)
    mask_at, mask_channel = planes_at(descriptor, MASK, image, pixel)
    height, width = tl.load(descriptor + HEIGHT), tl.load(descriptor + WIDTH)
    image_row = tl.load(descriptor + FIRST_ROW) + image * height * width
    of_kernel = tl.load(descriptor + KERNEL) * OUTPUTS
    out_channel = tl.program_id(1) * BLOCK_O + tl.arange(0, BLOCK_O)
    is_output = out_channel < OUTPUTS
    # In float32 whatever the type: 16 bits would lose digits in a sum of K * C products.
    total = tl.zeros((BLOCK_P, BLOCK_O), dtype=tl.float32)
    channel_blocks: tl.constexpr = (CHANNELS + BLOCK_C - 1) // BLOCK_C
    # One loop over taps and channel blocks: the compiler overlaps the next tile's reads with
    # this tile's product, which it does only within the innermost loop.
    for step in range(TAPS * channel_blocks):
        tap = step // channel_blocks
        channel = (step % channel_blocks) * BLOCK_C + tl.arange(0, BLOCK_C)
        tap_y, tap_x, importance = read_tap(
            planes + offset_at,
            offset_channel,
            planes + mask_at,
            mask_channel,
            y,
            x,
            is_position,
            tap,
            KERNEL_X,
            DILATION_Y,
            DILATION_X,
        )
        columns = sample_columns(
            table,
            image_row,
            height,
            width,
            tap_y,
            tap_x,
            importance,
            is_position,
            channel,
            CHANNELS,
            BLOCK_C,
        )
        weight = tl.load(
            kernels
            + ((of_kernel + out_channel) * TAPS + tap)[None, :] * CHANNELS
            + channel[:, None],
            mask=is_output[None, :] & (channel < CHANNELS)[:, None],
            other=0.0,
        )
        total = add_product(total, columns, weight, PRECISION)
    if HAS_BIAS:
        added = tl.load(biases + of_kernel + out_channel, mask=is_output, other=0.0)
        total += added.to(tl.float32)[None, :]
    # The outputs of all convolutions are rows of one table.
    row = tl.load(descriptor + FIRST_POSITION) + image * tl.load(descriptor + OUT_SIZE) + pixel
    tl.store(
        output + row[:, None] * OUTPUTS + out_channel[None, :],
        total.to(output.dtype.element_ty),
        mask=is_position[:, None] & is_output[None, :],
    )
    if HAS_MOMENTS:
        store_moments_of_rows(
            maps + index * MAP_FIELDS,
            output,
            partial,
            row,
            block,
            tl.num_programs(2),
            tl.program_id(2),
            pixel.to(tl.int32),
            is_position,
            tl.program_id(1) * BLOCK_O,
            OUTPUTS,
            BLOCK_O,
        )


@triton.jit
def backward_samples_kernel(
    descriptors,
    table,
    planes,
    kernels,
    grad_output,
    grad_table,
    grad_offset,
    grad_mask,
    COUNT: tl.constexpr,
    CHANNELS: tl.constexpr,
    OUTPUTS: tl.constexpr,
    TAPS: tl.constexpr,
    KERNEL_X: tl.constexpr,
    PADDING_Y: tl.constexpr,
    PADDING_X: tl.constexpr,
    DILATION_Y: tl.constexpr,
    DILATION_X: tl.constexpr,
    NEED_TABLE: tl.constexpr,
    NEED_SAMPLES: tl.constexpr,
    PRECISION: tl.constexpr,
    BLOCK_P: tl.constexpr,
    BLOCK_C: tl.constexpr,
    BLOCK_O: tl.constexpr,
):
    """Gradients of table, offsets and masks. Grid: (blocks, K).

    A program owns one tap of its positions and walks over all channels, so that only the pixels of
    the table, which many samples share, need atomic additions. grad_table is float32 and zeroed;
    grad_offset and grad_mask hold (N, 2K, Y, X) and (N, K, Y, X) of one convolution after another.
    """
    descriptor, position, is_position = convolution_tile(
        descriptors, tl.program_id(0), COUNT, BLOCK_P
    )
    tap = tl.program_id(1)
    image, pixel, y, x = locate(descriptor, position, PADDING_Y, PADDING_X)
    offset_at, offset_channel = planes_at(descriptor, OFFSET, image, pixel)
    mask_at, mask_channel = planes_at(descriptor, MASK, image, pixel)
    tap_y, tap_x, importance = read_tap(
        planes + offset_at,
        offset_channel,
        planes + mask_at,
        mask_channel,
        y,
        x,
        is_position,
        tap,
        KERNEL_X,
        DILATION_Y,
        DILATION_X,
    )
    height, width = tl.load(descriptor + HEIGHT), tl.load(descriptor + WIDTH)
    pixel_y, part_y, is_top, is_bottom = corners(tap_y, height)
    pixel_x, part_x, is_left, is_right = corners(tap_x, width)
    top, bottom = shares(part_y, is_top, is_bottom)
    left, right = shares(part_x, is_left, is_right)
    # Positions beyond the convolution's last one read nothing, and so add nothing.
    is_top, is_bottom = is_top & is_position, is_bottom & is_position
    row = tl.load(descriptor + FIRST_ROW) + (image * height + pixel_y) * width + pixel_x
    of_kernel = tl.load(descriptor + KERNEL) * OUTPUTS
    first_position = tl.load(descriptor + FIRST_POSITION)

    # What the columns' gradient answers to each corner's pixel, summed over channels.
    at_top_left = tl.zeros((BLOCK_P,), dtype=tl.float32)
    at_top_right = tl.zeros((BLOCK_P,), dtype=tl.float32)
    at_bottom_left = tl.zeros((BLOCK_P,), dtype=tl.float32)
    at_bottom_right = tl.zeros((BLOCK_P,), dtype=tl.float32)
    # The columns' gradient lives a tile at a time: whole, it has K times the input's size.
    for start in range(0, CHANNELS, BLOCK_C):
        channel = start + tl.arange(0, BLOCK_C)
        grad = tl.zeros((BLOCK_P, BLOCK_C), dtype=tl.float32)
        for out_start in range(0, OUTPUTS, BLOCK_O):
            out_channel = out_start + tl.arange(0, BLOCK_O)
            is_output = out_channel < OUTPUTS
            grad_rows = tl.load(
                grad_output + (first_position + position)[:, None] * OUTPUTS + out_channel[None, :],
                mask=is_position[:, None] & is_output[None, :],
                other=0.0,
            )
            weight = tl.load(
                kernels
                + ((of_kernel + out_channel) * TAPS + tap)[:, None] * CHANNELS
                + channel[None, :],
                mask=is_output[:, None] & (channel < CHANNELS)[None, :],
                other=0.0,
            )
            grad = add_product(grad, grad_rows, weight, PRECISION)
        if NEED_SAMPLES:
            a = gather(table, row, is_top & is_left, channel, CHANNELS, BLOCK_C)
            at_top_left += tl.sum(grad * a.to(tl.float32), axis=1)
            b = gather(table, row + 1, is_top & is_right, channel, CHANNELS, BLOCK_C)
            at_top_right += tl.sum(grad * b.to(tl.float32), axis=1)
            c = gather(table, row + width, is_bottom & is_left, channel, CHANNELS, BLOCK_C)
            at_bottom_left += tl.sum(grad * c.to(tl.float32), axis=1)
            d = gather(table, row + width + 1, is_bottom & is_right, channel, CHANNELS, BLOCK_C)
            at_bottom_right += tl.sum(grad * d.to(tl.float32), axis=1)
        if NEED_TABLE:
            at = grad_table + row[:, None] * CHANNELS + channel[None, :]
            below = at + width * CHANNELS
            wanted = (channel < CHANNELS)[None, :]
            grad *= importance[:, None]
            upper, lower = grad * top[:, None], grad * bottom[:, None]
            is_left_top, is_right_top = (is_top & is_left)[:, None], (is_top & is_right)[:, None]
            is_left_bottom = (is_bottom & is_left)[:, None]
            is_right_bottom = (is_bottom & is_right)[:, None]
            # Many samples may read one pixel, in this program and in others; sums need no order.
            tl.atomic_add(at, upper * left[:, None], wanted & is_left_top, sem="relaxed")
            tl.atomic_add(
                at + CHANNELS, upper * right[:, None], wanted & is_right_top, sem="relaxed"
            )
            tl.atomic_add(below, lower * left[:, None], wanted & is_left_bottom, sem="relaxed")
            tl.atomic_add(
                below + CHANNELS, lower * right[:, None], wanted & is_right_bottom, sem="relaxed"
            )

    if NEED_SAMPLES:
        out_size = tl.load(descriptor + OUT_SIZE)
        # Interpolation is linear in y at any x: its slope is the lower row less the upper one.
        by_top = left * at_top_left + right * at_top_right
        by_bottom = left * at_bottom_left + right * at_bottom_right
        by_left = top * at_top_left + bottom * at_bottom_left
        by_right = top * at_top_right + bottom * at_bottom_right
        before = first_position * TAPS  # values of a mask, of the convolutions before this one
        grad_y_at = grad_offset + 2 * before + (image * (2 * TAPS) + 2 * tap) * out_size + pixel
        grad_mask_at = grad_mask + before + (image * TAPS + tap) * out_size + pixel
        tl.store(grad_y_at, (by_bottom - by_top) * importance, mask=is_position)
        tl.store(grad_y_at + out_size, (by_right - by_left) * importance, mask=is_position)
        tl.store(grad_mask_at, top * by_top + bottom * by_bottom, mask=is_position)


@triton.jit
def backward_kernels_kernel(
    descriptors,
    parts,
    table,
    planes,
    grad_output,
    partial,
    COUNT: tl.constexpr,
    CHANNELS: tl.constexpr,
    OUTPUTS: tl.constexpr,
    TAPS: tl.constexpr,
    KERNEL_X: tl.constexpr,
    PADDING_Y: tl.constexpr,
    PADDING_X: tl.constexpr,
    DILATION_Y: tl.constexpr,
    DILATION_X: tl.constexpr,
    PRECISION: tl.constexpr,
    BLOCK_P: tl.constexpr,
    BLOCK_C: tl.constexpr,
    BLOCK_O: tl.constexpr,
):
    """Compute partial (S, O, K, C) = grad_output^T @ columns, each over the blocks of one part.

    Grid: (K * C blocks, O blocks, S). Columns are sampled again; sums over the parts of one kernel
    follow outside. parts (S, 2): first block, and the block after the last.
    """
    channel_blocks: tl.constexpr = (CHANNELS + BLOCK_C - 1) // BLOCK_C
    tap = tl.program_id(0) // channel_blocks
    channel = (tl.program_id(0) % channel_blocks) * BLOCK_C + tl.arange(0, BLOCK_C)
    out_channel = tl.program_id(1) * BLOCK_O + tl.arange(0, BLOCK_O)
    is_output = out_channel < OUTPUTS
    part = tl.program_id(2)
    total = tl.zeros((BLOCK_O, BLOCK_C), dtype=tl.float32)
    for block in range(tl.load(parts + 2 * part), tl.load(parts + 2 * part + 1)):
        descriptor, position, is_position = convolution_tile(descriptors, block, COUNT, BLOCK_P)
        image, pixel, y, x = locate(descriptor, position, PADDING_Y, PADDING_X)
        offset_at, offset_channel = planes_at(descriptor, OFFSET, image, pixel)
        mask_at, mask_channel = planes_at(descriptor, MASK, image, pixel)
        tap_y, tap_x, importance = read_tap(
            planes + offset_at,
            offset_channel,
            planes + mask_at,
            mask_channel,
            y,
            x,
            is_position,
            tap,
            KERNEL_X,
            DILATION_Y,
            DILATION_X,
        )
        height, width = tl.load(descriptor + HEIGHT), tl.load(descriptor + WIDTH)
        image_row = tl.load(descriptor + FIRST_ROW) + image * height * width
        columns = sample_columns(
            table,
            image_row,
            height,
            width,
            tap_y,
            tap_x,
            importance,
            is_position,
            channel,
            CHANNELS,
            BLOCK_C,
        )
        row = tl.load(descriptor + FIRST_POSITION) + position
        grad_rows = tl.load(
            grad_output + row[:, None] * OUTPUTS + out_channel[None, :],
            mask=is_position[:, None] & is_output[None, :],
            other=0.0,
        )
        total = add_product(total, tl.trans(grad_rows), columns, PRECISION)
    # The parts together may have more values than 32 bits count.
    tl.store(
        partial
        + ((part.to(tl.int64) * OUTPUTS + out_channel) * TAPS + tap)[:, None] * CHANNELS
        + channel[None, :],
        total,
        mask=is_output[:, None] & (channel < CHANNELS)[None, :],
    )
