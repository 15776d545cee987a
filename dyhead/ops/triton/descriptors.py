"""Descriptors of tensors of different sizes that enter one launch of a Triton kernel together.

A kernel takes few addresses. So all tensors that a launch works on become parts of one buffer, as
most of them are already, and small tables of integers, their descriptors, tell where each part
begins and how large it is.
"""

import itertools
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from dyhead.ops.pytorch.device_constants import device_constant

Rows = tuple[tuple[int, ...], ...]

WIDE = 2**31  # values; more of them need indices of 64 bits
MAX_DESCRIPTORS = 32  # of a table that a kernel searches; a power of two
# Tensors that are together a smaller part of their storage than this are copied without the rest.
SMALLEST_SHARE = 0.25


def device_descriptors(rows: Rows, like: Tensor, is_wide: bool = False) -> Tensor:
    """Copy `rows` to the device of `like`, once: (rows, fields) of int32, or int64 if `is_wide`."""
    # The constant is `tuple(rows)`, hence the rows themselves, kept by their values.
    return device_constant(tuple, (rows,), like, torch.int64 if is_wide else torch.int32)


def count_tiles(lengths: Sequence[int], tile: int) -> int:
    """Count the tiles of parts of these lengths; no tile crosses from one part to the next."""
    return sum(-(-length // tile) for length in lengths)


def join_rows(tables: Sequence[Tensor], any_order: bool = False) -> tuple[Tensor, list[int]]:
    """Bring (R_i, C) tables into one, without a copy where they lie one after the other.

    Args:
        tables: at least one; contiguous, of one type and device.
        any_order: where their order in memory saves a copy, let it be that of the result.

    Returns:
        (R, C), and the row at which each table begins.
    """
    order = list(range(len(tables)))
    if any_order:
        by_address = sorted(order, key=lambda index: tables[index].data_ptr())
        order = by_address if _are_adjacent([tables[i] for i in by_address]) else order
    ordered = [tables[index] for index in order]
    ends = list(itertools.accumulate(len(table) for table in ordered))
    begins = dict(zip(order, [0, *ends], strict=False))
    first_rows = [begins[index] for index in range(len(tables))]
    if _are_adjacent(ordered):
        channels = ordered[0].shape[1]
        return ordered[0].as_strided((ends[-1], channels), (channels, 1)), first_rows
    return torch.cat(ordered), first_rows


def _are_adjacent(tables: Sequence[Tensor]) -> bool:
    address, storage = tables[0].data_ptr(), _address(tables[0])
    for table in tables:
        if _address(table) != storage or table.data_ptr() != address:
            return False
        address += table.numel() * table.element_size()
    return True


class Place(NamedTuple):
    """The place of a tensor's values in a buffer: its first one, and its strides."""

    first: int
    strides: tuple[int, ...]


def join_storages(tensors: Sequence[Tensor]) -> tuple[Tensor, list[Place]]:
    """Bring tensors of any strides into one buffer, in one copy at most.

    Args:
        tensors: at least one; of one type and device.

    Returns:
        A one-dimensional tensor, and where in it each tensor is.
    """
    wanted = Counter[int]()
    for tensor in {id(tensor): tensor for tensor in tensors}.values():
        wanted[_address(tensor)] += tensor.numel()
    parts: dict[int, tuple[int, Tensor]] = {}  # by address, with where they begin
    places, end = [], 0
    for tensor in tensors:
        if wanted[_address(tensor)] < SMALLEST_SHARE * _capacity(tensor):
            tensor = tensor.clone(memory_format=torch.contiguous_format)
        if _address(tensor) not in parts:
            parts[_address(tensor)] = end, tensor.as_strided((_capacity(tensor),), (1,), 0)
            end += _capacity(tensor)
        begin, _ = parts[_address(tensor)]
        strides = zip(tensor.shape, tensor.stride(), strict=True)
        steps = tuple(0 if length == 1 else step for length, step in strides)  # 1: never taken
        places.append(Place(begin + int(tensor.storage_offset()), steps))
    buffers = [buffer for _, buffer in parts.values()]
    return (buffers[0] if len(buffers) == 1 else torch.cat(buffers)), places


def _address(tensor: Tensor) -> int:
    """Return the address of a tensor's storage."""
    return tensor.untyped_storage().data_ptr()


def _capacity(tensor: Tensor) -> int:
    """Count the values of a tensor's storage."""
    return tensor.untyped_storage().nbytes() // tensor.element_size()


def split_rows(
    table: Tensor, shapes: Sequence[Sequence[int]], channels_first: bool = False
) -> list[Tensor]:
    """Cut (R, C) into parts, in order, each of its shape and without a copy.

    To autograd they are tensors of their own, not views: each may be overwritten.

    Args:
        table: the rows.
        shapes: of the parts.
        channels_first: let parts (N, H, W, C) be (N, C, H, W), laid out as channels_last.
    """
    parts, begin = [], int(table.storage_offset())
    for shape in shapes:
        strides = torch.empty(shape, device="meta").stride()
        order = (0, 3, 1, 2) if channels_first else range(len(shape))
        size = torch.Size([shape[axis] for axis in order])
        part = table.new_empty(0)
        part.set_(table.untyped_storage(), begin, size, [strides[axis] for axis in order])
        parts.append(part)
        begin += part.numel()
    return parts
