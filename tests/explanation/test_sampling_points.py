"""The weights of sampling points are the derivatives of what the operator itself computes."""

import pytest
import torch
from small_blocks import make_far_reaching_block, make_levels

from dyhead.explanation.origins import Origin
from dyhead.explanation.sampling_points import settle, trace
from dyhead.layers import DyHeadStack, record_attentions
from dyhead.layers.map_sizes import read_at_size, upsample
from dyhead.ops import modulated_deform_conv2d

SIZES = [(9, 8), (5, 4), (3, 2)]
OPTIONS = [
    {},
    {"coarser_offsets": "crop"},
    {"coarser_offsets": "resize"},
    {"coarser_offsets": "upsample_features"},
    {"order": "scale_spatial_task"},
    {"scale_aware": False},
    {"spatial_aware": False},
    {"residual": True},
    {"residual": True, "order": "scale_spatial_task"},
]
EVERY = 10**6


def make_stack(count, **options):
    stack = DyHeadStack(16, 16, 0)
    for index in range(count):
        block = make_far_reaching_block(**options)
        with torch.no_grad():
            for parameter in block.parameters():
                parameter += 0.02 * index * torch.randn_like(parameter)
        stack.append(block)
    return stack


def record(stack, sizes=SIZES):
    with torch.no_grad(), record_attentions(stack) as records:
        stack(make_levels(sizes, batch=1))
    return records


def listen(block, record, levels):
    """Compute a block on maps (1, 1, H, W) with kernels of ones and nothing after them."""
    kernel = torch.ones(1, 1, 3, 3, dtype=torch.float64)
    scaled = levels
    if block.scale_first and record.shares:
        scaled = [
            level * share.view(1, 1, 1, 1)
            for level, share in zip(levels, record.shares, strict=True)
        ]
    outputs = []
    for index, level in enumerate(levels):
        size = level.shape[-2:]
        own = (torch.zeros(1, 18, *size).double(), torch.ones(1, 9, *size).double())
        if record.offsets:
            own = record.offsets[index], record.masks[index]
        branches = [modulated_deform_conv2d(scaled[index], *own, kernel, padding=1)]
        if index > 0:
            finer = modulated_deform_conv2d(scaled[index - 1], *own, kernel, stride=2, padding=1)
            branches.insert(0, finer)
        if index < len(levels) - 1:
            coarser = scaled[index + 1]
            if record.coarser_offsets == "upsample_features":
                coarser = upsample(coarser, size)
            else:
                own = read_at_size(record.coarser_offsets, *own, *coarser.shape[-2:])
            found = modulated_deform_conv2d(coarser, *own, kernel, padding=1)
            branches.append(upsample(found, size))
        if record.shares and not block.scale_first:
            shares = record.shares[index][0].tolist()
        else:
            shares = [1 / len(branches)] * len(branches)
        heard = sum(share * each for share, each in zip(shares, branches, strict=True))
        outputs.append(level + heard if block.residual else heard)
    return outputs


def derivatives(stack, records, origin, block):
    leaves = [torch.zeros(1, 1, *size).double().requires_grad_() for size in records[0].sizes]
    levels = leaves
    for index in range(block + 1):
        levels = listen(stack[index], records[index], levels)
    return torch.autograd.grad(
        levels[origin.level][0, 0, origin.row, origin.column], leaves, allow_unused=True
    )


def as_maps(points, sizes):
    maps = [torch.zeros(size, dtype=torch.float64) for size in sizes]
    for level, (row, column), weight in zip(*points, strict=True):
        maps[level][int(row), int(column)] += weight
    return maps


@pytest.mark.parametrize("place", [(0, 4, 7), (0, 0, 0), (1, 2, 1), (2, 2, 1)])
@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("blocks", [1, 2])
def test_weights_are_the_derivatives_of_the_operator(blocks, options, place):
    stack, origin = make_stack(blocks, **options), Origin(*place, anchor=0)
    records = record(stack)
    traced = trace(records, origin, blocks - 1, EVERY)
    assert [each.block for each in traced] == list(range(blocks))[::-1]
    assert all(each.kept == pytest.approx(1) for each in traced)
    found = as_maps(settle(traced[-1].points, SIZES), SIZES)
    expected = derivatives(stack, records, origin, blocks - 1)
    assert sum(part.sum() for part in found) > 0.01
    for one, other in zip(found, expected, strict=True):
        other = torch.zeros_like(one) if other is None else other[0, 0]
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-12)


def test_a_lower_block_can_be_the_first_one():
    stack = make_stack(3)
    records, origin = record(stack), Origin(1, 2, 1, 0)
    (alone,) = trace(records, origin, 0)
    (expected,) = trace(records[:1], origin, 0)
    torch.testing.assert_close(alone.points.places, expected.points.places)


def test_the_heaviest_points_stay_and_it_is_said_how_much_they_are():
    stack, origin = make_stack(2), Origin(0, 4, 7, 0)
    records = record(stack)
    whole, pruned = (trace(records, origin, 1, count) for count in (EVERY, 5))
    assert [len(each.points.weights) for each in pruned] == [5, 5]
    top = pruned[0].points.weights
    torch.testing.assert_close(top, whole[0].points.weights[:5])
    assert pruned[0].kept == pytest.approx(top.sum().item() / whole[0].points.weights.sum().item())
    assert 0 < pruned[1].kept < 1
    assert (pruned[1].points.weights.diff() <= 0).all()


def test_a_block_that_adds_its_input_hears_the_location_itself():
    (found,) = trace(record(make_stack(1, residual=True)), Origin(1, 2, 1, 0), 0)
    (without,) = trace(record(make_stack(1)), Origin(1, 2, 1, 0), 0)
    (where,) = (
        (found.points.places == torch.tensor([2, 1])).all(1) & (found.points.levels == 1)
    ).nonzero()
    assert found.points.weights[where] == 1
    assert len(found.points.weights) == len(without.points.weights) + 1


def test_without_learned_offsets_the_points_are_the_grid():
    stack = make_stack(1, spatial_aware=False, scale_aware=False)
    (found,) = trace(record(stack), Origin(1, 2, 1, 0), 0)
    same = found.points.places[found.points.levels == 1]
    expected = {(y, x) for y in (1, 2, 3) for x in (0, 1, 2)}
    assert set(map(tuple, same.int().tolist())) == expected
