"""Counts of operators equal arithmetic done by hand."""

import os

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from dyhead.analysis.operators import count_operators
from dyhead.layers import DyHeadBlock
from dyhead.ops import modulated_deform_conv2d


class DeformConv(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.rand(5, 4, 3, 3))

    def forward(self, x):
        size = [(length + 1) // 2 for length in x.shape[2:]]
        offset, mask = x.new_zeros(len(x), 18, *size), x.new_ones(len(x), 9, *size)
        return modulated_deform_conv2d(x, offset, mask, self.weight, stride=2, padding=1)


class Attention(nn.Module):
    def forward(self, query, key, value):
        return F.scaled_dot_product_attention(query, key, value)


class SoftConv(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(2, 3, 3, padding=1)
        self.norm = nn.GroupNorm(3, 3)

    def forward(self, x):
        x = F.relu(self.norm(self.conv(x)))
        return F.interpolate(x.softmax(1), scale_factor=2.0, mode="bilinear")


@pytest.mark.parametrize("backend", ["", "pytorch"])
def test_deformable_convolution_counts_as_a_plain_one(monkeypatch, backend):
    monkeypatch.setenv("DYHEAD_DEFORM_CONV", backend)
    counts = count_operators(DeformConv(), (torch.rand(2, 4, 7, 9),))
    outputs = 2 * 5 * 4 * 5
    assert counts.by_operator == {"modulated_deform_conv2d": outputs * 4 * 9}
    assert counts.activations[""] == outputs


def test_back_end_is_put_back(monkeypatch):
    monkeypatch.setenv("DYHEAD_DEFORM_CONV", "pytorch")
    count_operators(DeformConv(), (torch.rand(1, 4, 5, 5),))
    assert os.environ["DYHEAD_DEFORM_CONV"] == "pytorch"


def test_attention_counts_both_products():
    query, key, value = torch.rand(2, 3, 5, 8), torch.rand(2, 3, 7, 8), torch.rand(2, 3, 7, 6)
    counts = count_operators(Attention(), (query, key, value))
    assert counts.multiply_adds[""] == 2 * 3 * 5 * 7 * (8 + 6)


def test_what_is_in_no_number_is_listed():
    counts = count_operators(SoftConv(), (torch.rand(1, 2, 4, 4),))
    assert counts.multiply_adds == {"": 16 * 3 * (18 + 5), "conv": 16 * 54, "norm": 16 * 15}
    assert counts.activations == {"": 48, "conv": 48, "norm": 0}
    assert counts.uncounted == {"relu": 1, "softmax": 1, "upsample_bilinear2d": 1}


def test_block_by_hand():
    levels = [torch.rand(1, 32, *size) for size in ((9, 12), (5, 6), (3, 3))]
    counts = count_operators(DyHeadBlock(32, 32).requires_grad_(False), (levels,))
    areas = [108, 30, 9]
    branches = [108, 30, 9, *areas[1:], *areas[1:]]  # same, finer at stride 2, coarser
    expected = {
        "convolution": 27 * 288 * sum(areas) + 32 * len(branches),  # offsets; scores
        "modulated_deform_conv2d": 32 * 288 * sum(branches),
        "group_norm": 5 * 32 * sum(branches),
        "linear": 3 * (32 * 8 + 8 * 128),
    }
    assert counts.by_operator == expected
