"""The tile scheduler of grouped launches: it maps a program to the member and the tile it works on.

A launch serves several members: convolutions, maps or levels. Each is cut into tiles of its own,
and tiles are numbered through, one member's after the other's. Importing this file needs Triton.
"""

import triton
import triton.language as tl

from dyhead.ops.triton.descriptors import MAX_DESCRIPTORS

_PADDED = tl.constexpr(MAX_DESCRIPTORS)


@triton.jit
def tile_ends(lengths, tile_length, FIELDS: tl.constexpr, COUNT: tl.constexpr):
    """Count every member's tiles, and number them through.

    Args:
        lengths: the address of the first member's length; the next is FIELDS further.
        COUNT: the number of members.

    Returns:
        The members' indices, their tiles and the tiles' ends; beyond COUNT there are no tiles.
    """
    # All members in one vector: a loop over them would wait for memory in every step.
    index = tl.arange(0, _PADDED)
    length = tl.load(lengths + index * FIELDS, mask=index < COUNT, other=0)
    tiles = ((length + tile_length - 1) // tile_length).to(tl.int32)
    return index, tiles, tl.cumsum(tiles, axis=0)


@triton.jit
def find_tile(lengths, tile, tile_length, FIELDS: tl.constexpr, COUNT: tl.constexpr):
    """Find the member that a tile belongs to, and the tile's first position there."""
    _, _, ends = tile_ends(lengths, tile_length, FIELDS, COUNT)
    is_past = ends <= tile
    index = tl.sum(is_past.to(tl.int32), axis=0)
    first = tile - tl.max(tl.where(is_past, ends, 0), axis=0)
    return index, first * tile_length


@triton.jit
def tiles_of(lengths, member, tile_length, FIELDS: tl.constexpr, COUNT: tl.constexpr):
    """Return the first tile of a member, and the number of its tiles."""
    index, tiles, ends = tile_ends(lengths, tile_length, FIELDS, COUNT)
    count = tl.sum(tl.where(index == member, tiles, 0), axis=0)
    return tl.sum(tl.where(index == member, ends, 0), axis=0) - count, count
