"""Bringing tensors into one piece of memory, and the tables that say where they are."""

import pytest
import torch

from dyhead.ops.triton.descriptors import (
    count_tiles,
    device_descriptors,
    join_rows,
    join_storages,
    split_rows,
)

LIKE = torch.empty(0)


def test_descriptors_of_small_and_large_numbers():
    rows = ((1, 2), (3, 4))
    assert device_descriptors(rows, LIKE).tolist() == [[1, 2], [3, 4]]
    assert device_descriptors(rows, LIKE).dtype == torch.int32
    assert device_descriptors(rows, LIKE, is_wide=True).dtype == torch.int64


def test_no_tile_crosses_from_one_part_to_the_next():
    assert count_tiles([70, 0, 64, 1], 32) == 3 + 0 + 2 + 1


def test_rows_that_follow_each_other_are_not_copied():
    whole = torch.randn(9, 4)
    parts = [whole[:2], whole[2:7], whole[7:]]
    table, first_rows = join_rows(parts)
    assert table.data_ptr() == whole.data_ptr()
    assert torch.equal(table, whole)
    assert first_rows == [0, 2, 7]


@pytest.mark.parametrize("any_order", [True, False])
@pytest.mark.parametrize(
    "cut", [lambda t: [t[4:], t[:4]], lambda t: [t[:3], t[5:]], lambda t: [t[:4], t[4:] + 0]]
)
def test_each_table_is_found_among_the_rows(cut, any_order):
    parts = cut(torch.randn(9, 4))
    table, first_rows = join_rows(parts, any_order)
    assert len(table) == sum(map(len, parts))
    for part, first in zip(parts, first_rows, strict=True):
        assert torch.equal(table[first : first + len(part)], part)
    if table.data_ptr() != min(part.data_ptr() for part in parts):
        assert torch.equal(table, torch.cat(parts))  # wherever they lie: records stay the same


def test_the_order_in_memory_saves_a_copy():
    whole = torch.randn(9, 4)
    table, first_rows = join_rows([whole[4:], whole[:4]], any_order=True)
    assert table.data_ptr() == whole.data_ptr()
    assert first_rows == [4, 0]


def test_tensors_of_any_strides_are_found_in_one_memory():
    first, second = torch.randn(2, 6, 4, 5), torch.randn(2, 6, 3, 2)
    tensors = [
        first[:, :4],
        first[:, 4:],
        first[:, :4],
        second.permute(0, 2, 3, 1)[..., 1:],
        second[:1, :1, :1, :1],
        first[..., :3, ::2],
    ]
    memory, places = join_storages(tensors)
    assert memory.numel() == first.numel() + second.numel()
    for tensor, (begin, strides) in zip(tensors, places, strict=True):
        assert torch.equal(memory.as_strided(tensor.shape, strides, begin), tensor)


def test_one_storage_is_not_copied():
    maps = torch.randn(2, 27, 4, 5)
    memory, _ = join_storages([maps[:, :18], maps[:, 18:]])
    assert memory.data_ptr() == maps.data_ptr()


def test_small_parts_of_a_large_storage_come_alone():
    large, small = torch.randn(1000), torch.randn(10)
    memory, places = join_storages([large[10:20], small, large[500:502]])
    assert memory.numel() == 22
    for tensor, (begin, strides) in zip([large[10:20], small], places, strict=False):
        assert torch.equal(memory.as_strided(tensor.shape, strides, begin), tensor)


def test_parts_may_be_overwritten_though_they_share_memory():
    class Cut(torch.autograd.Function):
        @staticmethod
        def forward(ctx, table):
            return tuple(split_rows(table * 2, [(1, 2, 3), (4, 3)]))

        @staticmethod
        def backward(ctx, first, second):
            return 2 * torch.cat((first.flatten(0, 1), second))

    table = torch.randn(6, 3, requires_grad=True)
    first, second = Cut.apply(table)
    expected = table.detach()[2:] * 2
    assert first.untyped_storage().data_ptr() == second.untyped_storage().data_ptr()
    first.relu_()
    torch.testing.assert_close(second, expected)
    (first.sum() + second.sum()).backward()
    torch.testing.assert_close(table.grad[2:], torch.full((4, 3), 2.0))
    torch.testing.assert_close(table.grad[:2], 2.0 * (table.detach()[:2] > 0))
