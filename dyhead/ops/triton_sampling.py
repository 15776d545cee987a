"""Sampling within the Triton kernels of `triton_deform_conv`; importing this file needs Triton.

Shape letters: as in `triton_deform_kernels`.
"""

import triton
import triton.language as tl


@triton.jit
def corners(position, length):
    """The pixel below each position, the share of the next one, and which of both are inside.

    A coordinate that is not a number is nowhere inside, and its share is not a number either.
    """
    below = tl.floor(position)
    first = (below >= 0) & (below < length)
    second = (below >= -1) & (below < length - 1)
    pixel = tl.where(first | second, below, 0.0).to(tl.int32)
    return pixel, position - below, first, second


@triton.jit
def shares(fraction, first, second):
    """Linear shares of both pixels; zero outside the image."""
    return (1 - fraction) * first.to(tl.float32), fraction * second.to(tl.float32)


@triton.jit
def read_tap(
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
    KERNEL_X: tl.constexpr,
    STRIDE_Y: tl.constexpr,
    STRIDE_X: tl.constexpr,
    PADDING_Y: tl.constexpr,
    PADDING_X: tl.constexpr,
    DILATION_Y: tl.constexpr,
    DILATION_X: tl.constexpr,
):
    """Where one tap of each output position reads (image, y, x), and its importance."""
    image = position // out_size
    pixel = position % out_size
    offset_at = offset + image * offset_image + pixel * offset_pixel + 2 * tap * offset_channel
    mask_at = mask + image * mask_image + pixel * mask_pixel + tap * mask_channel
    dy = tl.load(offset_at, mask=is_position, other=0.0)
    dx = tl.load(offset_at + offset_channel, mask=is_position, other=0.0)
    importance = tl.load(mask_at, mask=is_position, other=0.0)
    tap_y = (pixel // out_width) * STRIDE_Y + ((tap // KERNEL_X) * DILATION_Y - PADDING_Y)
    tap_x = (pixel % out_width) * STRIDE_X + ((tap % KERNEL_X) * DILATION_X - PADDING_X)
    return image, dy + tap_y.to(tl.float32), dx + tap_x.to(tl.float32), importance


@triton.jit
def gather(table, row, is_inside, channel, CHANNELS: tl.constexpr, BLOCK_C: tl.constexpr):
    """Rows of a (R, C) table, zero outside."""
    wanted = is_inside[:, None]
    if CHANNELS % BLOCK_C != 0:
        wanted = wanted & (channel < CHANNELS)[None, :]
    return tl.load(table + row[:, None] * CHANNELS + channel[None, :], mask=wanted, other=0.0)


@triton.jit
def sample_columns(
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
    CHANNELS: tl.constexpr,
    KERNEL_X: tl.constexpr,
    STRIDE_Y: tl.constexpr,
    STRIDE_X: tl.constexpr,
    PADDING_Y: tl.constexpr,
    PADDING_X: tl.constexpr,
    DILATION_Y: tl.constexpr,
    DILATION_X: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    """Sample one tap: (BLOCK_P, BLOCK_C), weighted in float32, in the table's dtype."""
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
    left, right = left * importance, right * importance
    is_top, is_bottom = is_top & is_position, is_bottom & is_position
    row = (image * height + line) * width + place
    a = gather(table, row, is_top & is_left, channel, CHANNELS, BLOCK_C)
    b = gather(table, row + 1, is_top & is_right, channel, CHANNELS, BLOCK_C)
    c = gather(table, row + width, is_bottom & is_left, channel, CHANNELS, BLOCK_C)
    d = gather(table, row + width + 1, is_bottom & is_right, channel, CHANNELS, BLOCK_C)
    columns = (top * left)[:, None] * a.to(tl.float32)
    columns += (top * right)[:, None] * b.to(tl.float32)
    columns += (bottom * left)[:, None] * c.to(tl.float32)
    columns += (bottom * right)[:, None] * d.to(tl.float32)
    return columns.to(table.dtype.element_ty)


@triton.jit
def add_product(total, a, b, PRECISION: tl.constexpr):
    """total + a @ b, accumulated in float32."""
    if PRECISION == "emulated":
        # Triton's interpreter would multiply the bit patterns of bfloat16 values.
        return total + tl.dot(a.to(tl.float32), b.to(tl.float32))
    return tl.dot(a, b, total, input_precision=PRECISION)
