"""The stages of backbones, found by what their features are computed from."""

import random
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from dyhead.modeling.backbone.stages import find_stages
from dyhead.modeling.backbone.swin import SwinTransformer
from dyhead.modeling.backbone.timm_backbone import TimmBackbone

BACKBONES: dict[str, Callable[[], Any]] = {
    "convnext": lambda: TimmBackbone("test_convnext"),
    "resnet": lambda: TimmBackbone("test_resnet"),
    "swin": lambda: SwinTransformer(
        ("stage3", "stage4"), embed_dim=12, depths=(1, 1, 1, 1), num_heads=(1, 1, 2, 2)
    ),
}


def names_of(backbone: nn.Module) -> list[set[str]]:
    """The names of the parameters of each stage."""
    names = {parameter: name for name, parameter in backbone.named_parameters()}
    return [{names[p] for p in stage} for stage in find_stages(backbone, 3)]  # type: ignore[arg-type]


def changed_features(backbone: nn.Module, parameter: nn.Parameter) -> list[bool]:
    """Tell which features another value of a parameter changes, finest first."""
    generator = torch.Generator().manual_seed(0)
    image = torch.rand(1, 3, 64, 64, generator=generator, dtype=torch.float64)
    with torch.no_grad():
        before = list(backbone(image).values())
        kept = parameter.clone()
        parameter.add_(torch.randn(parameter.shape, generator=generator, dtype=torch.float64))
        after = list(backbone(image).values())
        parameter.copy_(kept)
    return [not torch.equal(a, b) for a, b in zip(before, after, strict=True)]


@pytest.mark.parametrize("name", BACKBONES)
def test_each_parameter_stands_where_it_first_changes_a_feature(name: str) -> None:
    torch.manual_seed(0)
    backbone = BACKBONES[name]().eval()
    stages = find_stages(backbone, 3)
    assert len(stages) == len(backbone.output_shape())
    backbone.double()  # in place: the parameters stay
    for parameter in backbone.parameters():  # factors that begin at zero would hide others
        nn.init.normal_(parameter, 0.1, 0.3)
    for index, stage in enumerate(stages):
        for parameter in random.Random(0).sample(stage, 6):
            assert changed_features(backbone, parameter).index(True) == index


@pytest.mark.parametrize("name", BACKBONES)
def test_all_trained_parameters_are_in_one_stage(name: str) -> None:
    backbone = BACKBONES[name]()
    stages = names_of(backbone)
    assert sum(map(len, stages)) == len(set().union(*stages))
    trained = {name for name, p in backbone.named_parameters() if p.requires_grad}
    assert set().union(*stages) == trained


def test_frozen_stages_are_left_out() -> None:
    whole, frozen = (TimmBackbone("test_convnext", freeze_at=n) for n in (-1, 2))
    assert len(find_stages(whole, 3)) == 3
    assert names_of(frozen) == names_of(whole)[1:]


def test_mode_and_statistics_of_the_backbone_stay() -> None:
    backbone = TimmBackbone("test_resnet").train()
    before = {name: value.clone() for name, value in backbone.named_buffers()}
    find_stages(backbone, 3)
    assert backbone.training
    assert all(torch.equal(before[name], value) for name, value in backbone.named_buffers())
