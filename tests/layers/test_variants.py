"""Attentions of one's own: known by their name, with no other change."""

import pytest
import torch
from attention_variants import VARIANTS
from documents import PROJECT, block_with
from small_blocks import make_levels

from dyhead.layers import SCALE_ATTENTIONS, BlockOptions, DyHeadBlock, DyHeadStack

SEMANTICS = PROJECT / "docs" / "semantics.md"


@pytest.fixture(params=VARIANTS)
def role(request, monkeypatch):
    """The option that a variant has been added to, under the name "Variant"."""
    table, variant = VARIANTS[request.param]
    monkeypatch.setitem(table, "Variant", variant)
    return request.param


@pytest.mark.parametrize("order", ["spatial_scale_task", "scale_spatial_task"])
def test_a_variant_learns_in_a_stack_beside_the_other_attentions(role, order):
    torch.manual_seed(0)
    stack = DyHeadStack(16, 16, 2, BlockOptions(order=order, **{role: "Variant"}))
    assert all(type(block.get_submodule(role)) is VARIANTS[role][1] for block in stack)
    levels, losses = make_levels([(6, 8), (3, 4), (2, 2)], dtype=torch.float32), []
    targets = [level.roll(1, 0) for level in levels]
    optimizer = torch.optim.Adam(stack.parameters(), 0.01)
    for _ in range(12):
        pairs = zip(stack(levels), targets, strict=True)
        loss = sum((output - target).square().mean() for output, target in pairs)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert all(parameter.grad is not None for parameter in stack.parameters())
    assert losses[-1] < 0.95 * losses[0]


@pytest.mark.parametrize("role", VARIANTS)
def test_an_unknown_name_is_answered_with_the_known_ones(role):
    with pytest.raises(ValueError, match=rf"MODEL.DYHEAD.{role.upper()} 'best' is unknown: use"):
        DyHeadBlock(16, 16, BlockOptions(**{role: "best"}))


def test_the_attention_of_the_document_computes_in_either_order(monkeypatch):
    example = block_with(SEMANTICS, "python", "SoftmaxAttention")
    monkeypatch.setitem(SCALE_ATTENTIONS, "SoftmaxAttention", None)  # which the example replaces
    exec(compile(example, "semantics.md", "exec"), {})
    levels = make_levels([(6, 8), (3, 4)], dtype=torch.float32)
    for order in ("spatial_scale_task", "scale_spatial_task"):
        options = BlockOptions(order=order, scale_attention="SoftmaxAttention")
        block = DyHeadBlock(16, 16, options)
        for index, output in enumerate(block(levels)):
            branches = block.spatial_attention(levels, index)
            if order == "spatial_scale_task":
                scores = [block.scale_attention.score(b.mean((2, 3))).exp() for b in branches]
                weighted = [b * s[..., None, None] for b, s in zip(branches, scores, strict=True)]
                mean = sum(weighted) / sum(scores)[..., None, None]
            else:  # of one level there is nothing to weigh
                mean = sum(branches) / len(branches)
            torch.testing.assert_close(output, block.task_attention(mean))
