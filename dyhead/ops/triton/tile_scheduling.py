"""How a Triton program finds what it works on, of several problems; importing this needs Triton."""

import triton
import triton.language as tl

from dyhead.ops.triton.descriptors import MOST_RECORDS

_PADDED = tl.constexpr(MOST_RECORDS)


@triton.jit
def block_ends(lengths, block_length, FIELDS: tl.constexpr, COUNT: tl.constexpr):
    """Cut problems into blocks: how many each one has, and how many it has with those before it.

    Args:
        lengths: the address of the first problem's length; the next is FIELDS further.
        COUNT: how many problems there are.

    Returns:
        The numbers of the problems, their blocks and their ends; beyond COUNT there are no blocks.
    """
    index = tl.arange(0, _PADDED)
    length = tl.load(lengths + index * FIELDS, mask=index < COUNT, other=0)
    blocks = ((length + block_length - 1) // block_length).to(tl.int32)
    return index, blocks, tl.cumsum(blocks, axis=0)


@triton.jit
def find_block(lengths, block, block_length, FIELDS: tl.constexpr, COUNT: tl.constexpr):
    """The problem that a block belongs to, and the block's first position there."""
    _, _, ends = block_ends(lengths, block_length, FIELDS, COUNT)
    is_past = ends <= block
    index = tl.sum(is_past.to(tl.int32), axis=0)
    first = block - tl.max(tl.where(is_past, ends, 0), axis=0)
    return index, first * block_length


@triton.jit
def blocks_of(lengths, problem, block_length, FIELDS: tl.constexpr, COUNT: tl.constexpr):
    """A problem's first block, and how many it has."""
    index, blocks, ends = block_ends(lengths, block_length, FIELDS, COUNT)
    count = tl.sum(tl.where(index == problem, blocks, 0), axis=0)
    return tl.sum(tl.where(index == problem, ends, 0), axis=0) - count, count
