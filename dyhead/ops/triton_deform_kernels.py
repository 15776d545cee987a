"""The Triton kernels of `triton_deform_conv`; importing this file needs Triton.

Everything is a table with channels side by side: the input (R, C), the output and its gradient
(P, O), the kernel (O, K, C). Columns exist only as tiles in registers and shared memory.

Shape letters: P = N * Y * X output positions, R = N * H * W input pixels, K taps; a tile has
BLOCK_P positions, BLOCK_C input channels and BLOCK_O output channels.
"""

import triton
import triton.language as tl

from dyhead.ops.triton_sampling import (
    add_product,
    corners,
    gather,
    read_tap,
    sample_columns,
    shares,
)

# Sizes differ from level to level and from image to image: one compiled kernel serves them all.
_SIZES = (
    "positions",
    "out_size",
    "out_width",
    "height",
    "width",
    "offset_image",
    "offset_channel",
    "offset_pixel",
    "mask_image",
    "mask_channel",
    "mask_pixel",
)


@triton.jit(do_not_specialize=_SIZES)
def forward_kernel(
    table,
    offset,
    mask,
    kernel,
    bias,
    output,
    positions,
    out_size,
    out_width,
    height,
    width,
    offset_image,
    offset_channel,
    offset_pixel,
    mask_image,
    mask_channel,
    mask_pixel,
    CHANNELS: tl.constexpr,
    OUTPUTS: tl.constexpr,
    TAPS: tl.constexpr,
    KERNEL_X: tl.constexpr,
    STRIDE_Y: tl.constexpr,
    STRIDE_X: tl.constexpr,
    PADDING_Y: tl.constexpr,
    PADDING_X: tl.constexpr,
    DILATION_Y: tl.constexpr,
    DILATION_X: tl.constexpr,
    HAS_BIAS: tl.constexpr,
    WIDE: tl.constexpr,
    PRECISION: tl.constexpr,
    BLOCK_P: tl.constexpr,
    BLOCK_C: tl.constexpr,
    BLOCK_O: tl.constexpr,
):
    """output (P, O) = columns (P, K * C) @ kernel^T + bias. Grid: (P blocks, O blocks)."""
    position = tl.program_id(0) * BLOCK_P + tl.arange(0, BLOCK_P)
    if WIDE:
        position = position.to(tl.int64)
    out_channel = tl.program_id(1) * BLOCK_O + tl.arange(0, BLOCK_O)
    is_position = position < positions
    total = tl.zeros((BLOCK_P, BLOCK_O), dtype=tl.float32)
    channel_blocks: tl.constexpr = (CHANNELS + BLOCK_C - 1) // BLOCK_C
    # One loop over taps and channel blocks: the compiler overlaps the next tile's reads with
    # this tile's product, which it does only within the innermost loop.
    for step in range(TAPS * channel_blocks):
        tap = step // channel_blocks
        channel = (step % channel_blocks) * BLOCK_C + tl.arange(0, BLOCK_C)
        columns = sample_columns(
            table,
            position,
            is_position,
            tap,
            channel,
            offset,
            mask,
            out_size,
            out_width,
            height,
            width,
            offset_image,
            offset_channel,
            offset_pixel,
            mask_image,
            mask_channel,
            mask_pixel,
            CHANNELS,
            KERNEL_X,
            STRIDE_Y,
            STRIDE_X,
            PADDING_Y,
            PADDING_X,
            DILATION_Y,
            DILATION_X,
            BLOCK_C,
        )
        weight = tl.load(
            kernel + (out_channel * TAPS + tap)[None, :] * CHANNELS + channel[:, None],
            mask=(out_channel < OUTPUTS)[None, :] & (channel < CHANNELS)[:, None],
            other=0.0,
        )
        total = add_product(total, columns, weight, PRECISION)
    if HAS_BIAS:
        added = tl.load(bias + out_channel, mask=out_channel < OUTPUTS, other=0.0)
        total += added.to(tl.float32)[None, :]
    tl.store(
        output + position[:, None] * OUTPUTS + out_channel[None, :],
        total.to(output.dtype.element_ty),
        mask=is_position[:, None] & (out_channel < OUTPUTS)[None, :],
    )


@triton.jit(do_not_specialize=_SIZES)
def backward_samples_kernel(
    table,
    offset,
    mask,
    kernel,
    grad_output,
    grad_table,
    grad_offset,
    grad_mask,
    positions,
    out_size,
    out_width,
    height,
    width,
    offset_image,
    offset_channel,
    offset_pixel,
    mask_image,
    mask_channel,
    mask_pixel,
    CHANNELS: tl.constexpr,
    OUTPUTS: tl.constexpr,
    TAPS: tl.constexpr,
    KERNEL_X: tl.constexpr,
    STRIDE_Y: tl.constexpr,
    STRIDE_X: tl.constexpr,
    PADDING_Y: tl.constexpr,
    PADDING_X: tl.constexpr,
    DILATION_Y: tl.constexpr,
    DILATION_X: tl.constexpr,
    NEED_TABLE: tl.constexpr,
    NEED_SAMPLES: tl.constexpr,
    WIDE: tl.constexpr,
    PRECISION: tl.constexpr,
    BLOCK_P: tl.constexpr,
    BLOCK_C: tl.constexpr,
    BLOCK_O: tl.constexpr,
):
    """Gradients of table, offset and mask. Grid: (P blocks, K).

    A program owns one tap of its positions and walks over all channels, so that only the pixels of
    the table, which many samples share, need atomic additions. grad_table is float32 and zeroed;
    grad_offset (N, 2K, Y, X) and grad_mask (N, K, Y, X) are contiguous.
    """
    position = tl.program_id(0) * BLOCK_P + tl.arange(0, BLOCK_P)
    if WIDE:
        position = position.to(tl.int64)
    tap = tl.program_id(1)
    is_position = position < positions
    image, y, x, importance = read_tap(
        offset,
        mask,
        position,
        is_position,
        tap,
        out_size,
        out_width,
        offset_image,
        offset_channel,
        offset_pixel,
        mask_image,
        mask_channel,
        mask_pixel,
        KERNEL_X,
        STRIDE_Y,
        STRIDE_X,
        PADDING_Y,
        PADDING_X,
        DILATION_Y,
        DILATION_X,
    )
    line, part_y, is_top, is_bottom = corners(y, height)
    place, part_x, is_left, is_right = corners(x, width)
    top, bottom = shares(part_y, is_top, is_bottom)
    left, right = shares(part_x, is_left, is_right)
    is_top, is_bottom = is_top & is_position, is_bottom & is_position
    row = (image * height + line) * width + place

    # What the columns' gradient answers to each corner's pixel, summed over channels.
    at_top_left = tl.zeros((BLOCK_P,), dtype=tl.float32)
    at_top_right = tl.zeros((BLOCK_P,), dtype=tl.float32)
    at_bottom_left = tl.zeros((BLOCK_P,), dtype=tl.float32)
    at_bottom_right = tl.zeros((BLOCK_P,), dtype=tl.float32)
    for start in range(0, CHANNELS, BLOCK_C):
        channel = start + tl.arange(0, BLOCK_C)
        grad = tl.zeros((BLOCK_P, BLOCK_C), dtype=tl.float32)
        for out_start in range(0, OUTPUTS, BLOCK_O):
            out_channel = out_start + tl.arange(0, BLOCK_O)
            is_output = out_channel < OUTPUTS
            grad_rows = tl.load(
                grad_output + position[:, None] * OUTPUTS + out_channel[None, :],
                mask=is_position[:, None] & is_output[None, :],
                other=0.0,
            )
            weight = tl.load(
                kernel + (out_channel * TAPS + tap)[:, None] * CHANNELS + channel[None, :],
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
            tl.atomic_add(at, upper * left[:, None], wanted & is_left_top, sem="relaxed")
            tl.atomic_add(
                at + CHANNELS, upper * right[:, None], wanted & is_right_top, sem="relaxed"
            )
            tl.atomic_add(below, lower * left[:, None], wanted & is_left_bottom, sem="relaxed")
            tl.atomic_add(
                below + CHANNELS, lower * right[:, None], wanted & is_right_bottom, sem="relaxed"
            )

    if NEED_SAMPLES:
        pixel = position % out_size
        by_top = left * at_top_left + right * at_top_right
        by_bottom = left * at_bottom_left + right * at_bottom_right
        by_left = top * at_top_left + bottom * at_bottom_left
        by_right = top * at_top_right + bottom * at_bottom_right
        grad_y_at = grad_offset + (image * (2 * TAPS) + 2 * tap) * out_size + pixel
        grad_mask_at = grad_mask + (image * TAPS + tap) * out_size + pixel
        tl.store(grad_y_at, (by_bottom - by_top) * importance, mask=is_position)
        tl.store(grad_y_at + out_size, (by_right - by_left) * importance, mask=is_position)
        tl.store(grad_mask_at, top * by_top + bottom * by_bottom, mask=is_position)


@triton.jit(do_not_specialize=(*_SIZES, "span"))
def backward_weight_kernel(
    table,
    offset,
    mask,
    grad_output,
    partial,
    positions,
    span,
    out_size,
    out_width,
    height,
    width,
    offset_image,
    offset_channel,
    offset_pixel,
    mask_image,
    mask_channel,
    mask_pixel,
    CHANNELS: tl.constexpr,
    OUTPUTS: tl.constexpr,
    TAPS: tl.constexpr,
    KERNEL_X: tl.constexpr,
    STRIDE_Y: tl.constexpr,
    STRIDE_X: tl.constexpr,
    PADDING_Y: tl.constexpr,
    PADDING_X: tl.constexpr,
    DILATION_Y: tl.constexpr,
    DILATION_X: tl.constexpr,
    WIDE: tl.constexpr,
    PRECISION: tl.constexpr,
    BLOCK_P: tl.constexpr,
    BLOCK_C: tl.constexpr,
    BLOCK_O: tl.constexpr,
):
    """partial (S, O, K, C) = grad_output^T @ columns over `span` positions each.

    Grid: (K * C blocks, O blocks, S). Columns are sampled again; their sum over S follows outside.
    """
    channel_blocks: tl.constexpr = (CHANNELS + BLOCK_C - 1) // BLOCK_C
    tap = tl.program_id(0) // channel_blocks
    channel = (tl.program_id(0) % channel_blocks) * BLOCK_C + tl.arange(0, BLOCK_C)
    out_channel = tl.program_id(1) * BLOCK_O + tl.arange(0, BLOCK_O)
    is_output = out_channel < OUTPUTS
    first = tl.program_id(2) * span
    total = tl.zeros((BLOCK_O, BLOCK_C), dtype=tl.float32)
    for start in range(first, tl.minimum(first + span, positions), BLOCK_P):
        position = start + tl.arange(0, BLOCK_P)
        if WIDE:
            position = position.to(tl.int64)
        is_position = position < positions
        columns = sample_columns(
            table,
            position,
            is_position,
            tap,
            channel,
            offset,
            mask,
            out_size,
            out_width,
            height,
            width,
            offset_image,
            offset_channel,
            offset_pixel,
            mask_image,
            mask_channel,
            mask_pixel,
            CHANNELS,
            KERNEL_X,
            STRIDE_Y,
            STRIDE_X,
            PADDING_Y,
            PADDING_X,
            DILATION_Y,
            DILATION_X,
            BLOCK_C,
        )
        grad_rows = tl.load(
            grad_output + position[:, None] * OUTPUTS + out_channel[None, :],
            mask=is_position[:, None] & is_output[None, :],
            other=0.0,
        )
        total = add_product(total, tl.trans(grad_rows), columns, PRECISION)
    split = tl.program_id(2)
    if WIDE:
        split = split.to(tl.int64)
    tl.store(
        partial
        + ((split * OUTPUTS + out_channel) * TAPS + tap)[:, None] * CHANNELS
        + channel[None, :],
        total,
        mask=is_output[:, None] & (channel < CHANNELS)[None, :],
    )
