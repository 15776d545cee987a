"""The block against the official module's own code, where a checkout is at hand."""

import pytest
import torch
from official_code import load_official, official_checkout, stand_in
from small_blocks import (
    PYRAMIDS,
    assert_same,
    make_far_reaching_block,
    make_levels,
    outputs_and_gradients,
)
from torchvision.ops import deform_conv2d

from dyhead.layers import DyHeadBlock

BACKENDS = ("pytorch", "torchvision")

OFFICIAL_NAMES = {
    "DyConv.0.conv": "spatial_attention.coarser",
    "DyConv.1.conv": "spatial_attention.same",
    "DyConv.2.conv": "spatial_attention.finer",
    "DyConv.0.bn": "spatial_attention.coarser.norm",
    "DyConv.1.bn": "spatial_attention.same.norm",
    "DyConv.2.bn": "spatial_attention.finer.norm",
    "AttnConv.1": "scale_attention.score",
    "offset": "spatial_attention.offset_and_mask",
    "relu.fc.0": "task_attention.squeeze",
    "relu.fc.2": "task_attention.expand",
}


class OfficialOperator(torch.nn.Module):
    """Stands in for the official CUDA operator: its parameters, its reading of the offsets."""

    def __init__(self, in_channels, out_channels, kernel_size, stride, padding):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.empty(out_channels, in_channels, 3, 3))
        self.bias = torch.nn.Parameter(torch.empty(out_channels))
        self.stride, self.padding = stride, padding

    def forward(self, input, offset, mask):
        height, width = ((length - 1) // self.stride + 1 for length in input.shape[2:])
        offset, mask = (
            maps.contiguous()
            .flatten(1)[:, : channels * height * width]
            .view(-1, channels, height, width)
            for maps, channels in ((offset, 18), (mask, 9))
        )
        return deform_conv2d(
            input, offset, self.weight, self.bias, self.stride, self.padding, mask=mask
        )


@pytest.fixture
def official_block(monkeypatch):
    """The official block's class, loaded from the checkout without compiling anything."""
    folder = official_checkout() / "dyhead"
    stand_in(monkeypatch, "official_dynamichead")
    operator = {"ModulatedDeformConv": OfficialOperator}
    stand_in(monkeypatch, "official_dynamichead.deform", **operator)
    for name in ("detectron2", "detectron2.modeling"):
        stand_in(monkeypatch, name)
    stand_in(monkeypatch, "detectron2.modeling.backbone", Backbone=torch.nn.Module)
    for name in ("dyrelu", "dyhead"):
        module = load_official(monkeypatch, f"official_dynamichead.{name}", folder / f"{name}.py")
    return module.DyConv


def renamed(official_key):
    """Our name of an official block's parameter."""
    prefix, _, kind = official_key.rpartition(".")
    return f"{OFFICIAL_NAMES[prefix]}.{kind}"


@pytest.mark.filterwarnings("ignore:.*upsample_bilinear.*")
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("pyramid", ["even", "odd", "one level"])
def test_equals_the_official_module(official_block, pyramid, backend, monkeypatch):
    monkeypatch.setenv("DYHEAD_DEFORM_CONV", backend)
    block = make_far_reaching_block(channels=32)
    theirs = official_block(32, 32).double()
    ours = dict(block.named_parameters())
    names = [renamed(key) for key, _ in theirs.named_parameters()]
    assert sorted(names) == sorted(ours)
    theirs.load_state_dict({key: ours[renamed(key)] for key in theirs.state_dict()})

    levels = make_levels(PYRAMIDS[pyramid], channels=32)
    outputs, grads = outputs_and_gradients(block, levels, [ours[name] for name in names])
    expected, expected_grads = outputs_and_gradients(
        lambda leaves: list(theirs(dict(enumerate(leaves))).values()),
        levels,
        list(theirs.parameters()),
    )
    assert_same(outputs, expected, 1e-10)
    assert_same(grads, expected_grads, 1e-10)


@pytest.mark.filterwarnings("ignore:.*upsample_bilinear.*")
def test_equals_the_official_module_in_float32_at_full_width(official_block):
    """256 channels, five levels; differences are absolute."""
    torch.manual_seed(0)
    block = DyHeadBlock(256, 256)
    torch.nn.init.normal_(block.spatial_attention.offset_and_mask.weight, std=2.5 / 2304**0.5)
    theirs = official_block(256, 256)
    ours = dict(block.named_parameters())
    theirs.load_state_dict({key: ours[renamed(key)] for key in theirs.state_dict()})
    sizes = [(37, 51), (19, 26), (10, 13), (5, 7), (3, 4)]
    levels = [level.float() for level in make_levels(sizes, batch=1, channels=256)]
    offset, _ = block.spatial_attention.offsets(levels[0])
    assert offset.std() >= 2
    outputs, grads = outputs_and_gradients(block, levels, [])
    expected, expected_grads = outputs_and_gradients(
        lambda leaves: list(theirs(dict(enumerate(leaves))).values()), levels, []
    )
    worst = max((a - b).abs().max().item() for a, b in zip(outputs, expected, strict=True))
    worst_grad = max((a - b).abs().max().item() for a, b in zip(grads, expected_grads, strict=True))
    print(f"largest difference: forward {worst:.1e}, backward {worst_grad:.1e}")
    assert worst <= 1e-5
    assert worst_grad <= 1e-4
