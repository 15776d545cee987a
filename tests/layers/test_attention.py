"""The three attentions, each by the properties its definition gives it."""

import math

import pytest
import torch

from dyhead.layers import DeformableBranch, DyReLU, ScaleAttention, SpatialAttention


def hard_sigmoid(values):
    return ((values + 3) / 6).clamp(0, 1)


def test_scale_weights_lie_between_a_half_and_one():
    attention = ScaleAttention(8)
    torch.nn.init.normal_(attention.score.weight, std=10)
    weights = torch.cat([attention.weight(torch.randn(5, 8, 3, 4) * 3) for _ in range(20)])
    assert weights.shape == (100, 1, 1, 1)
    assert weights.min() == 0.5
    assert weights.max() == 1


def test_scale_attention_averages_weighted_branches():
    attention = ScaleAttention(8).double()
    branches = [torch.randn(2, 8, 3, 4, dtype=torch.float64) for _ in range(3)]
    weighted = [branch * attention.weight(branch) for branch in branches]
    torch.testing.assert_close(attention(branches), torch.stack(weighted).mean(0))
    torch.testing.assert_close(attention(branches[:1]), weighted[0])


def test_scale_attention_leaves_its_branches_alone():
    branches = [torch.randn(1, 8, 3, 4) for _ in range(2)]
    copies = [branch.clone() for branch in branches]
    ScaleAttention(8)(branches)
    assert all(branch.equal(copy) for branch, copy in zip(branches, copies, strict=True))


def test_dynamic_relu_is_the_larger_of_two_lines():
    relu = DyReLU(8).double()
    feature = torch.randn(2, 8, 3, 4, dtype=torch.float64)
    hidden = torch.relu(relu.squeeze(feature.mean((2, 3))))
    theta = hard_sigmoid(relu.expand(hidden))[..., None, None]
    a1, b1, a2, b2 = theta.split(8, dim=1)
    expected = torch.max(
        feature * (2 * (a1 - 0.5) + 1) + (b1 - 0.5), feature * (2 * (a2 - 0.5)) + (b2 - 0.5)
    )
    torch.testing.assert_close(relu(feature), expected)


def test_dynamic_relu_without_weights_is_a_relu():
    relu = DyReLU(8)
    for parameter in relu.parameters():
        torch.nn.init.zeros_(parameter)
    feature = torch.randn(2, 8, 3, 4)
    torch.testing.assert_close(relu(feature), feature.relu())


@pytest.mark.parametrize("stride", [1, 2])
def test_deformable_branch_starts_like_the_official_one(stride):
    branch = DeformableBranch(64, 32, stride)
    bound = 1 / math.sqrt(64 * 9)
    assert branch.weight.abs().max() <= bound
    assert branch.weight.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.03)
    assert not branch.bias.any()
    assert (branch.norm.num_groups, branch.norm.num_channels) == (16, 32)


def test_scale_attention_starts_like_the_official_one():
    attention = ScaleAttention(4096)
    assert attention.score.weight.std().item() == pytest.approx(0.01, rel=0.1)
    assert not attention.score.bias.any()


def test_offsets_start_moving():
    """PyTorch's default initialisation, not the zeros of the deformable convolution's paper."""
    attention = SpatialAttention(16, 16)
    offset, mask = attention.offsets(torch.randn(1, 16, 5, 6))
    assert offset.shape == (1, 18, 5, 6)
    assert mask.shape == (1, 9, 5, 6)
    assert offset.std() > 0.1
    assert 0 < mask.min() < mask.max() < 1


@pytest.mark.parametrize(("index", "branches"), [(0, 2), (1, 3), (2, 2)])
def test_every_branch_has_the_levels_size(index, branches):
    attention = SpatialAttention(16, 32)
    levels = [torch.randn(2, 16, *size) for size in ((9, 13), (5, 7), (3, 4))]
    outputs = attention(levels, index)
    assert [output.shape for output in outputs] == [(2, 32, *levels[index].shape[2:])] * branches
