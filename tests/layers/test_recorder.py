"""A block records just what its pass used, and recording changes nothing."""

import copy
import io
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from small_blocks import PYRAMIDS, make_block, make_far_reaching_block, make_levels

from dyhead.layers import DyHeadStack, fused_attention, record_attentions
from dyhead.ops import branch_mix

OPTIONS = [
    {},
    {"coarser_offsets": "upsample_features"},
    {"order": "scale_spatial_task"},
    {"hard_sigmoid": "paper"},
    {"scale_aware": False},
    {"spatial_aware": False},
    {"task_aware": False},
    {"residual": True},
]
FLOAT32 = {"dtype": torch.float32}


@torch.no_grad()
def record(block, levels):
    """The outputs, and what the one block of the pass recorded."""
    with record_attentions(block) as (found,):
        outputs = block(levels)
    return outputs, found


def of_modules(block, levels):
    """Offsets, masks, shares and DyReLU coefficients per level, from the modules one by one."""
    spatial, scale, task = block.spatial_attention, block.scale_attention, block.task_attention
    own_shares = []
    if block.scale_first and scale is not None:
        own_shares = [scale.weight(level).flatten(1) for level in levels]
        levels = [scale([level]) for level in levels]
    offsets, masks, shares, dyrelu = [], [], own_shares, []
    for index, level in enumerate(levels):
        if spatial.offset_and_mask is not None:
            offset, mask = spatial.offsets(level)
            offsets.append(offset)
            masks.append(mask)
        branches = spatial(levels, index)
        mixed = torch.stack(branches).mean(0)
        if scale is not None and not block.scale_first:
            shares.append(torch.cat([scale.weight(b) for b in branches], 1).flatten(1))
            shares[-1] = shares[-1] / len(branches)
            mixed = scale(branches)
        if hasattr(task, "coefficients"):
            dyrelu.append(torch.stack(task.coefficients(mixed)).flatten(2))
    return offsets, masks, shares, dyrelu


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_the_record_is_what_the_plain_modules_compute(options, fused):
    block = make_far_reaching_block(fused=fused, **options)
    levels = make_levels([(9, 8), (5, 4), (3, 2)])
    _, found = record(block, levels)
    assert found.sizes == [(9, 8), (5, 4), (3, 2)]
    assert found.residual == options.get("residual", False)
    with torch.no_grad():
        expected = of_modules(block, levels)
    for got, wanted in zip(
        (found.offsets, found.masks, found.shares, found.dyrelu), expected, strict=True
    ):
        assert len(got) == len(wanted)
        for one, other in zip(got, wanted, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("pyramid", PYRAMIDS)
def test_outputs_are_the_same_bit_for_bit_while_it_is_recorded(pyramid, fused, monkeypatch):
    monkeypatch.setattr(fused_attention, "LARGE_LEVEL", 1)  # in parts, where there are some
    block = make_block(fused=fused, **FLOAT32)
    levels = make_levels(PYRAMIDS[pyramid], **FLOAT32)
    with torch.no_grad():
        expected = block(levels)
    outputs, found = record(block, levels)
    assert all(torch.equal(one, other) for one, other in zip(outputs, expected, strict=True))
    assert len(found.dyrelu) == len(found.shares) == len(found.masks) == len(levels)
    with torch.no_grad():
        again = block(levels)
    assert all(torch.equal(one, other) for one, other in zip(again, expected, strict=True))
    assert len(found.dyrelu) == len(levels), "nothing is recorded after the context"


def test_the_coefficients_are_those_that_the_last_pass_over_memory_got(monkeypatch):
    mix, used = branch_mix.mix_forward, []

    def watched(maps, scales, dyrelu, *rest):
        used.append(dyrelu.clone())
        return mix(maps, scales, dyrelu, *rest)

    monkeypatch.setattr(branch_mix, "mix_forward", watched)
    block = make_block(**FLOAT32)
    _, found = record(block, make_levels([(9, 8), (5, 4), (3, 2)], **FLOAT32))
    assert torch.equal(torch.stack(found.dyrelu), used[0][:, 1:])


def test_training_records_the_forward_pass_once():
    block, levels = make_block(), make_levels([(6, 6), (3, 3)])
    with record_attentions(block) as (found,):
        sum(output.sum() for output in block(levels)).backward()
    assert len(found.sizes) == len(found.shares) == len(found.dyrelu) == 2


def test_passes_of_other_threads_are_not_recorded():
    block, levels = make_block(**FLOAT32), make_levels([(6, 6), (3, 3)], **FLOAT32)
    with record_attentions(block) as (found,), ThreadPoolExecutor(1) as other:
        other.submit(block, levels).result()
        assert not (found.sizes or found.shares or found.dyrelu)
        block(levels)
    assert len(found.sizes) == len(found.shares) == len(found.dyrelu) == 2


def test_blocks_of_a_stack_have_a_record_each():
    torch.manual_seed(0)
    stack = DyHeadStack(16, 16, 3)
    levels = make_levels([(8, 8), (4, 4)], **FLOAT32)
    with torch.no_grad(), record_attentions(stack) as records:
        expected = levels
        stack(levels)
    for block, found in zip(stack, records, strict=True):
        _, alone = record(block, expected)
        with torch.no_grad():
            expected = block(expected)
        assert all(map(torch.equal, found.offsets, alone.offsets))
        assert all(map(torch.equal, found.shares, alone.shares))


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
def test_compiled_exported_and_traced_passes_record_nothing():
    block = make_block(**FLOAT32).requires_grad_(False)
    levels = make_levels([(6, 6), (3, 3)], **FLOAT32)
    with torch.no_grad(), record_attentions(block) as (found,):
        torch.compile(block, backend="eager", fullgraph=True)(levels)
        torch.export.export(block, (levels,), strict=False)
        torch.jit.trace(lambda *parts: tuple(block(list(parts))), tuple(levels), check_trace=False)
    assert not (found.sizes or found.offsets or found.shares or found.dyrelu)


def test_a_block_that_was_recorded_is_copied_and_saved_as_before():
    block = make_block()
    with record_attentions(block):
        pass
    torch.save(copy.deepcopy(block).state_dict(), io.BytesIO())
    assert not any("record" in vars(module) for module in block.modules())
