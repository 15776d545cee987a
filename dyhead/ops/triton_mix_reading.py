"""What the Triton kernels of `triton_branch_mix` read; importing this file needs Triton.

Shape letters: as in `branch_mix`; a tile has BLOCK_P positions and BLOCK_C channels of one image.
"""

import triton
import triton.language as tl

# Sizes differ from level to level and from image to image: one compiled kernel serves them all.
BRANCH_SIZES = ("height0", "width0", "height1", "width1", "height2", "width2")
SIZES = ("height", "width", "images", *BRANCH_SIZES)


@triton.jit
def place(WIDE: tl.constexpr, AXIS: tl.constexpr, BLOCK_C: tl.constexpr):
    """This program's image, channels and part; 64 bits wide where addresses need it."""
    image = tl.program_id(1)
    part = tl.program_id(0)
    if WIDE:
        image = image.to(tl.int64)
        part = part.to(tl.int64)
    return image, tl.program_id(AXIS) * BLOCK_C + tl.arange(0, BLOCK_C), part


@triton.jit
def neighbours(at, length, target):
    """Position `at` of `target` on `length` ones: the one before, the one after, its share."""
    gaps = tl.maximum(target - 1, 1)
    low = at * (length - 1) // gaps
    share = (at * (length - 1) - low * gaps).to(tl.float32) / gaps
    return low, tl.minimum(low + 1, length - 1), share


@triton.jit
def read_rows(table, row, is_row, channel, CHANNELS: tl.constexpr):
    """Rows of a (positions, C) table as float32."""
    wanted = is_row[:, None] & (channel < CHANNELS)[None, :]
    values = tl.load(table + row[:, None] * CHANNELS + channel[None, :], mask=wanted, other=0.0)
    return values.to(tl.float32)


@triton.jit
def image_row(coefficients, index, images, image, channel, CHANNELS: tl.constexpr):
    """One image's row of a (K, N, C) table, as (1, BLOCK_C)."""
    at = coefficients + (index * images + image) * CHANNELS + channel
    return tl.load(at, mask=channel < CHANNELS, other=0.0)[None, :]


@triton.jit
def read_branch(
    branch,
    image,
    position,
    is_position,
    channel,
    height,
    width,
    branch_height,
    branch_width,
    CHANNELS: tl.constexpr,
    SAME: tl.constexpr,
):
    """A branch at positions of the level, upsampled where it is smaller."""
    if SAME:
        value = read_rows(branch, image * height * width + position, is_position, channel, CHANNELS)
    else:
        above, below, share_y = neighbours(position // width, branch_height, height)
        left, right, share_x = neighbours(position % width, branch_width, width)
        above = (image * branch_height + above) * branch_width
        below = (image * branch_height + below) * branch_width
        a = read_rows(branch, above + left, is_position, channel, CHANNELS)
        b = read_rows(branch, above + right, is_position, channel, CHANNELS)
        c = read_rows(branch, below + left, is_position, channel, CHANNELS)
        d = read_rows(branch, below + right, is_position, channel, CHANNELS)
        upper = a + (b - a) * share_x[:, None]
        lower = c + (d - c) * share_x[:, None]
        value = upper + (lower - upper) * share_y[:, None]
    return value


@triton.jit
def read_mixed(
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
    CHANNELS: tl.constexpr,
    BRANCHES: tl.constexpr,
    SAME0: tl.constexpr,
    SAME1: tl.constexpr,
    SAME2: tl.constexpr,
):
    """The branches at the positions, and z. Branches that are not there repeat the first one."""
    part0 = read_branch(
        branch0,
        image,
        position,
        is_position,
        channel,
        height,
        width,
        height0,
        width0,
        CHANNELS,
        SAME0,
    )
    part1, part2 = part0, part0
    mixed = image_row(lines, 0, images, image, channel, CHANNELS)
    mixed += part0 * image_row(scales, 0, images, image, channel, CHANNELS)
    if BRANCHES > 1:
        part1 = read_branch(
            branch1,
            image,
            position,
            is_position,
            channel,
            height,
            width,
            height1,
            width1,
            CHANNELS,
            SAME1,
        )
        mixed += part1 * image_row(scales, 1, images, image, channel, CHANNELS)
    if BRANCHES > 2:
        part2 = read_branch(
            branch2,
            image,
            position,
            is_position,
            channel,
            height,
            width,
            height2,
            width2,
            CHANNELS,
            SAME2,
        )
        mixed += part2 * image_row(scales, 2, images, image, channel, CHANNELS)
    return part0, part1, part2, mixed


@triton.jit
def line_gradients(
    grad_output, lines, mixed, images, image, channel, row, is_row, CHANNELS: tl.constexpr
):
    """What the two lines and z get of the gradient: half each where the lines are equal."""
    slope1 = image_row(lines, 1, images, image, channel, CHANNELS)
    slope2 = image_row(lines, 3, images, image, channel, CHANNELS)
    value1 = mixed * slope1 + image_row(lines, 2, images, image, channel, CHANNELS)
    value2 = mixed * slope2 + image_row(lines, 4, images, image, channel, CHANNELS)
    grad = read_rows(grad_output, row, is_row, channel, CHANNELS)
    first = tl.where(value1 > value2, grad, tl.where(value1 == value2, 0.5 * grad, 0.0))
    second = grad - first
    return first, second, first * slope1 + second * slope2
