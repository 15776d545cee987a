"""Bilinear sampling in the Triton kernels of `deform_conv`; importing this file needs Triton.

Shape letters: as in `deform_kernels`.
"""

import triton
import triton.language as tl

from dyhead.ops.triton.tile_scheduling import find_tile

# The fields of a convolution's descriptor: see `grouped_convolutions.GroupedConvolutions`.
POSITIONS = tl.constexpr(0)
FIRST_POSITION = tl.constexpr(1)
OUT_SIZE = tl.constexpr(2)
OUT_WIDTH = tl.constexpr(3)
FIRST_ROW = tl.constexpr(4)
HEIGHT = tl.constexpr(5)
WIDTH = tl.constexpr(6)
KERNEL = tl.constexpr(7)
STRIDE_Y = tl.constexpr(8)
STRIDE_X = tl.constexpr(9)
OFFSET = tl.constexpr(10)  # first value; strides of images, channels, rows, columns
MASK = tl.constexpr(15)
FIELDS = tl.constexpr(20)


@triton.jit
def corners(position, length):
    """Find the pixel below each position, the share of the next one, and which of both are inside.

    A coordinate that is not a number is nowhere inside, and its share is not a number either.
    """
    below = tl.floor(position)
    first = (below >= 0) & (below < length)
    second = (below >= -1) & (below < length - 1)
    pixel = tl.where(first | second, below, 0.0).to(tl.int32)
    return pixel, position - below, first, second


@triton.jit
def shares(fraction, first, second):
    """Compute linear shares of both pixels; zero outside the image."""
    return (1 - fraction) * first.to(tl.float32), fraction * second.to(tl.float32)


@triton.jit
def convolution_tile(descriptors, block, COUNT: tl.constexpr, BLOCK_P: tl.constexpr):
    """Find a tile's convolution: its descriptor, the positions there, and which of them exist."""
    index, first = find_tile(descriptors + POSITIONS, block, BLOCK_P, FIELDS, COUNT)
    descriptor = descriptors + index * FIELDS
    position = first.to(descriptors.dtype.element_ty) + tl.arange(0, BLOCK_P)
    return descriptor, position, position < tl.load(descriptor + POSITIONS)


@triton.jit
def image_tile(descriptors, block, image, COUNT: tl.constexpr, BLOCK_P: tl.constexpr):
    """Find the convolution of a tile whose positions belong to one image.

    Returns:
        The convolution's index and descriptor, the image in the descriptor's type, output pixels
        within it, and which of them exist.
    """
    kind = descriptors.dtype.element_ty
    index, first = find_tile(descriptors + OUT_SIZE, block, BLOCK_P, FIELDS, COUNT)
    descriptor = descriptors + index * FIELDS
    pixel = first.to(kind) + tl.arange(0, BLOCK_P)
    return index, descriptor, image.to(kind), pixel, pixel < tl.load(descriptor + OUT_SIZE)


@triton.jit
def locate(descriptor, position, PADDING_Y: tl.constexpr, PADDING_X: tl.constexpr):
    """Locate output positions.

    Returns:
        The image, the output pixel within it, and the first tap's place without an offset: y, x.
    """
    out_size = tl.load(descriptor + OUT_SIZE)
    image, pixel = position // out_size, position % out_size
    y, x = first_tap(descriptor, pixel, PADDING_Y, PADDING_X)
    return image, pixel, y, x


@triton.jit
def first_tap(descriptor, pixel, PADDING_Y: tl.constexpr, PADDING_X: tl.constexpr):
    """Place the first tap of output pixels without an offset: y, x."""
    out_width = tl.load(descriptor + OUT_WIDTH)
    y = (pixel // out_width) * tl.load(descriptor + STRIDE_Y) - PADDING_Y
    x = (pixel % out_width) * tl.load(descriptor + STRIDE_X) - PADDING_X
    return y, x


@triton.jit
def planes_at(descriptor, FIELD: tl.constexpr, image, pixel):
    """Address the first channel at output pixels of a map, and the step between channels."""
    out_width = tl.load(descriptor + OUT_WIDTH)
    at = tl.load(descriptor + FIELD) + image * tl.load(descriptor + FIELD + 1)
    at += (pixel // out_width) * tl.load(descriptor + FIELD + 3)
    at += (pixel % out_width) * tl.load(descriptor + FIELD + 4)
    return at, tl.load(descriptor + FIELD + 2)


@triton.jit
def read_tap(
    offset_at,
    offset_channel,
    mask_at,
    mask_channel,
    y,
    x,
    is_position,
    tap,
    KERNEL_X: tl.constexpr,
    DILATION_Y: tl.constexpr,
    DILATION_X: tl.constexpr,
):
    """Load one tap of each output position: where it reads, y and x, and its importance."""
    dy = tl.load(offset_at + 2 * tap * offset_channel, mask=is_position, other=0.0)
    dx = tl.load(offset_at + (2 * tap + 1) * offset_channel, mask=is_position, other=0.0)
    importance = tl.load(mask_at + tap * mask_channel, mask=is_position, other=0.0)
    tap_y = y + (tap // KERNEL_X) * DILATION_Y
    tap_x = x + (tap % KERNEL_X) * DILATION_X
    return dy + tap_y.to(tl.float32), dx + tap_x.to(tl.float32), importance


@triton.jit
def gather(table, row, is_inside, channel, CHANNELS: tl.constexpr, BLOCK_C: tl.constexpr):
    """Load rows of a (R, C) table, zero outside."""
    wanted = is_inside[:, None]
    if CHANNELS % BLOCK_C != 0:
        wanted = wanted & (channel < CHANNELS)[None, :]
    return tl.load(table + row[:, None] * CHANNELS + channel[None, :], mask=wanted, other=0.0)


@triton.jit
def sample_columns(
    table,
    image_row,
    height,
    width,
    y,
    x,
    importance,
    is_position,
    channel,
    CHANNELS: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    """Sample one tap at y, x: (BLOCK_P, BLOCK_C), weighted in float32, in the table's dtype.

    Args:
        image_row: the row of `table` at which the positions' image begins; one, or one of each.
    """
    pixel_y, part_y, is_top, is_bottom = corners(y, height)
    pixel_x, part_x, is_left, is_right = corners(x, width)
    top, bottom = shares(part_y, is_top, is_bottom)
    left, right = shares(part_x, is_left, is_right)
    left, right = left * importance, right * importance
    is_top, is_bottom = is_top & is_position, is_bottom & is_position
    row = image_row + pixel_y * width + pixel_x
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
    """Compute total + a @ b, accumulated in float32."""
    if PRECISION == "emulated":
        # Triton's interpreter would multiply the bit patterns of bfloat16 values.
        return total + tl.dot(a.to(tl.float32), b.to(tl.float32))
    return tl.dot(a, b, total, input_precision=PRECISION)
