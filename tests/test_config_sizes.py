"""Every config built in full, and counted by torchvision, timm and the paper's own numbers."""

import functools
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import timm
import torch
import torchvision
from torch import Tensor

import dyhead.modeling  # noqa: F401  registers the models
from dyhead.config import load_config
from dyhead.d2 import HOST
from dyhead.d2.config import CfgNode
from dyhead.d2.modeling import build_model
from dyhead.layers import DyHeadBlock

FOLDER = Path(__file__).parents[1] / "configs"
CONFIGS = sorted(
    path.relative_to(FOLDER).as_posix()
    for path in FOLDER.rglob("*.yaml")
    if not path.name.startswith("Base-")
)
SERVED = [
    name for name in CONFIGS if HOST == "detectron2" or not re.search("mask_rcnn|cascade", name)
]
GIANTS = [name for name in CONFIGS if re.search("swinl|x101", name)]
PER_BLOCK = 1_917_276  # parameters of a block of 256 channels; fewer without the biases of its
PER_BLOCK_WITHOUT_BIAS = PER_BLOCK - 3 * 256  # three deformable convolutions


@pytest.mark.parametrize("name", SERVED)
def test_builds_in_full(name: str) -> None:
    """On the meta device, which takes shapes for values: the giants too, in no time."""
    cfg, _ = load_config(str(FOLDER / name))
    model = build_on_meta(cfg)
    bottom_up = model.backbone.fpn.bottom_up
    offsets = {k: v for k, v in bottom_up.named_parameters() if "conv2_offset" in k}
    assert count(offsets.values()) == expected_offsets(cfg)
    if "swin" in cfg.MODEL.BACKBONE.NAME:
        assert count(bottom_up.parameters()) == count_of_swin(cfg)
    else:
        ordinary = [v for k, v in bottom_up.named_parameters() if k not in offsets]
        assert count(convolutions(ordinary)) == count_of_convolutions(cfg)
    blocks = [module for module in model.modules() if isinstance(module, DyHeadBlock)]
    assert len(blocks) == cfg.MODEL.DYHEAD.NUM_CONVS
    if cfg.MODEL.DYHEAD.CHANNELS == 256 and cfg.MODEL.DYHEAD.TASK_AWARE:
        expected = PER_BLOCK if cfg.MODEL.DYHEAD.BIAS else PER_BLOCK_WITHOUT_BIAS
        assert all(count(block.parameters()) == expected for block in blocks)


@pytest.mark.parametrize("name", GIANTS)
def test_the_size_of_the_giants(name: str) -> None:
    """Bottom-up, laterals, 3x3 convolutions of P3 to P7, blocks, predictors and five scales."""
    cfg, _ = load_config(str(FOLDER / name))
    model = build_on_meta(cfg)
    is_swin = "swin" in name
    bottom_up = count_of_swin(cfg) if is_swin else count_of_convolutions(cfg)
    channels = (384, 768, 1536) if is_swin else (512, 1024, 2048)
    pyramid = sum((c + 1) * 256 for c in channels) + 5 * (256 * 9 + 1) * 256
    blocks = 6 * (PER_BLOCK_WITHOUT_BIAS if "mmdet" in name else PER_BLOCK)
    head = (256 + 1) * (80 + 4 + 1) + 5
    assert count(model.parameters()) == (
        bottom_up + expected_offsets(cfg) + pyramid + blocks + head
    )


def build_on_meta(cfg: CfgNode) -> Any:
    cfg.MODEL.DEVICE = "meta"
    with torch.device("meta"):
        return build_model(cfg)


def count(parameters: Iterable[Tensor]) -> int:
    return sum(parameter.numel() for parameter in parameters)


def expected_offsets(cfg: CfgNode) -> int:
    """Stages 3 to 5 of a ResNet-101: 3x3 convolutions to 18 offsets and 9 masks."""
    if not any(cfg.MODEL.RESNETS.DEFORM_ON_PER_STAGE):
        return 0
    blocks = ((4, 512), (23, 1024), (3, 2048))
    return sum(number * 27 * (width * 9 + 1) for number, width in blocks)


def count_of_swin(cfg: CfgNode) -> int:
    """By timm, which has one norm at the end where a detector has one per output."""
    swin = cfg.MODEL.SWINT
    size = {96: "tiny", 192: "large"}[swin.EMBED_DIM]
    side = {7: 224, 12: 384}[swin.WINDOW_SIZE]
    real = functools.partial(torch.linspace, device="cpu")  # older timm reads its values
    with torch.device("meta"), mock.patch.object(torch, "linspace", real):
        reference: Any = timm.create_model(
            f"swin_{size}_patch4_window{swin.WINDOW_SIZE}_{side}", num_classes=0
        )
    outputs = sum(2 * (swin.EMBED_DIM << index) for index in (1, 2, 3))
    return count(reference.parameters()) - count(reference.norm.parameters()) + outputs


def count_of_convolutions(cfg: CfgNode) -> int:
    """By torchvision or timm; norms are frozen in some configs, so they are no parameters."""
    depth, groups = cfg.MODEL.RESNETS.DEPTH, cfg.MODEL.RESNETS.NUM_GROUPS
    name = f"resnet{depth}" if groups == 1 else f"resnext{depth}_{groups}x4d"
    with torch.device("meta"):
        if "timm" in cfg.MODEL.BACKBONE.NAME:
            reference = timm.create_model(cfg.MODEL.TIMM.NAME)
            head = reference.get_submodule("conv_head")  # of the classifier
            return count(convolutions(reference.parameters())) - count(head.parameters())
        reference = torchvision.models.get_model(name)
    return count(convolutions(reference.parameters()))


def convolutions(parameters: Iterable[Tensor]) -> Iterable[Tensor]:
    return (parameter for parameter in parameters if parameter.dim() == 4)
