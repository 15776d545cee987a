"""Loads of maps, coefficients and gradients in the Triton kernels of `branch_mix`.

All maps of a pyramid are rows of one table (rows, C), all outputs of another; `maps` and `levels`
say where in them each map and each level is, and how large. Importing this file needs Triton.

Shape letters: as in `branch_mix`; a tile has BLOCK_P positions and BLOCK_C channels of one image.
"""

import triton
import triton.language as tl

# The fields of a map's descriptor; a map that a level lacks has no positions.
POSITIONS = tl.constexpr(0)  # of an image
FIRST_ROW = tl.constexpr(1)
HEIGHT = tl.constexpr(2)
WIDTH = tl.constexpr(3)
LEVEL_HEIGHT = tl.constexpr(4)
LEVEL_WIDTH = tl.constexpr(5)
UPSAMPLED_POSITIONS = tl.constexpr(6)  # those of a map that is smaller than its level, else none
COLLECTED_ROW = tl.constexpr(7)  # first row among the maps that are smaller
MAP_FIELDS = tl.constexpr(8)
# The descriptor of a level begins in the same way.
LEVEL_FIELDS = tl.constexpr(4)


@triton.jit
def size_of(descriptor):
    """Return height and width of a map or a level."""
    return tl.load(descriptor + HEIGHT), tl.load(descriptor + WIDTH)


@triton.jit
def image_rows(descriptor, image, position):
    """Return the rows of positions of an image of a map or a level."""
    height, width = size_of(descriptor)
    return tl.load(descriptor + FIRST_ROW) + image * height * width + position


@triton.jit
def neighbours(at, length, target):
    """Find the neighbours of position `at` of `target` on `length` ones, and the second's share."""
    gaps = tl.maximum(target - 1, 1)
    low = at * (length - 1) // gaps
    share = (at * (length - 1) - low * gaps).to(tl.float32) / gaps
    return low, tl.minimum(low + 1, length - 1), share


@triton.jit
def corner_rows(descriptor, first_row, image, position):
    """Find the positions of a smaller map between which positions of its level lie.

    Args:
        first_row: of the map.

    Returns:
        The rows of the corners (upper left, upper right, lower left, lower right), and the shares
        of the lower and of the right ones.
    """
    height, width = size_of(descriptor)
    level_height, level_width = (
        tl.load(descriptor + LEVEL_HEIGHT),
        tl.load(descriptor + LEVEL_WIDTH),
    )
    above, below, share_y = neighbours(position // level_width, height, level_height)
    left, right, share_x = neighbours(position % level_width, width, level_width)
    above = first_row + (image * height + above) * width
    below = first_row + (image * height + below) * width
    return above + left, above + right, below + left, below + right, share_y, share_x


@triton.jit
def is_upsampled(descriptor):
    """Tell if a map is smaller than its level."""
    return tl.load(descriptor + UPSAMPLED_POSITIONS) > 0


@triton.jit
def read_rows(table, row, is_row, channel, CHANNELS: tl.constexpr):
    """Load rows of a (rows, C) table as float32."""
    wanted = is_row[:, None] & (channel < CHANNELS)[None, :]
    values = tl.load(table + row[:, None] * CHANNELS + channel[None, :], mask=wanted, other=0.0)
    return values.to(tl.float32)


@triton.jit
def image_row(coefficients, index, images, image, channel, CHANNELS: tl.constexpr):
    """Load one image's row of a (K, N, C) table, as (1, BLOCK_C)."""
    at = coefficients + (index * images + image) * CHANNELS + channel
    return tl.load(at, mask=channel < CHANNELS, other=0.0)[None, :]


@triton.jit
def scale_row(scales, index, descriptor, images, image, channel, CHANNELS: tl.constexpr):
    """Load a map's row of the scales, as (1, BLOCK_C); zero where there is no map."""
    at = scales + (index * images + image) * CHANNELS + channel
    # Memory of a map that is not there may hold NaN, which times zero stays NaN: it is not read.
    channels = tl.minimum(tl.load(descriptor + POSITIONS), 1) * CHANNELS
    return tl.load(at, mask=channel < channels, other=0.0)[None, :]


@triton.jit
def read_branch(table, descriptor, image, position, is_position, channel, CHANNELS: tl.constexpr):
    """Load a map at positions of its level, upsampled if need be; zero where there is no map."""
    if is_upsampled(descriptor):
        first_row = tl.load(descriptor + FIRST_ROW)
        a_row, b_row, c_row, d_row, share_y, share_x = corner_rows(
            descriptor, first_row, image, position
        )
        a = read_rows(table, a_row, is_position, channel, CHANNELS)
        b = read_rows(table, b_row, is_position, channel, CHANNELS)
        c = read_rows(table, c_row, is_position, channel, CHANNELS)
        d = read_rows(table, d_row, is_position, channel, CHANNELS)
        upper = a + (b - a) * share_x[:, None]
        lower = c + (d - c) * share_x[:, None]
        value = upper + (lower - upper) * share_y[:, None]
    else:
        is_there = is_position & (position < tl.load(descriptor + POSITIONS))
        row = image_rows(descriptor, image, position)
        value = read_rows(table, row, is_there, channel, CHANNELS)
    return value


@triton.jit
def read_mixed(
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
    CHANNELS: tl.constexpr,
    BRANCHES: tl.constexpr,
):
    """Load branches at positions of a level, and mix z. Beyond BRANCHES the first is repeated."""
    descriptor = maps + level * BRANCHES * MAP_FIELDS
    scale = level * BRANCHES
    part0 = read_branch(table, descriptor, image, position, is_position, channel, CHANNELS)
    part1, part2 = part0, part0
    mixed = image_row(dyrelu, 5 * level, images, image, channel, CHANNELS)
    mixed += part0 * scale_row(scales, scale, descriptor, images, image, channel, CHANNELS)
    if BRANCHES > 1:
        descriptor += MAP_FIELDS
        part1 = read_branch(table, descriptor, image, position, is_position, channel, CHANNELS)
        mixed += part1 * scale_row(scales, scale + 1, descriptor, images, image, channel, CHANNELS)
    if BRANCHES > 2:
        descriptor += MAP_FIELDS
        part2 = read_branch(table, descriptor, image, position, is_position, channel, CHANNELS)
        mixed += part2 * scale_row(scales, scale + 2, descriptor, images, image, channel, CHANNELS)
    return part0, part1, part2, mixed


@triton.jit
def linear_values(dyrelu, level, mixed, images, image, channel, CHANNELS: tl.constexpr):
    """Compute both linear functions of DyReLU at z."""
    value1 = mixed * image_row(dyrelu, 5 * level + 1, images, image, channel, CHANNELS)
    value1 += image_row(dyrelu, 5 * level + 2, images, image, channel, CHANNELS)
    value2 = mixed * image_row(dyrelu, 5 * level + 3, images, image, channel, CHANNELS)
    value2 += image_row(dyrelu, 5 * level + 4, images, image, channel, CHANNELS)
    return value1, value2


@triton.jit
def linear_gradients(
    grad_output, dyrelu, level, mixed, images, image, channel, row, is_row, CHANNELS: tl.constexpr
):
    """Compute the gradients of both linear functions, half each where they are equal, and of z."""
    value1, value2 = linear_values(dyrelu, level, mixed, images, image, channel, CHANNELS)
    grad = read_rows(grad_output, row, is_row, channel, CHANNELS)
    # Half each where both are equal, as autograd does for torch.maximum.
    first = tl.where(value1 > value2, grad, tl.where(value1 == value2, 0.5 * grad, 0.0))
    second = grad - first
    slope1 = image_row(dyrelu, 5 * level + 1, images, image, channel, CHANNELS)
    slope2 = image_row(dyrelu, 5 * level + 3, images, image, channel, CHANNELS)
    return first, second, first * slope1 + second * slope2
