"""The Swin Transformer against the official module's code."""

import pytest
import timm.layers
import torch
from fvcore.common.registry import Registry
from official_code import load_official, official_checkout, stand_in
from small_swins import (
    assert_same,
    build_swint,
    make_config,
    make_images,
    outputs_and_gradients,
    tiny_config,
)
from torch import nn

import dyhead
from dyhead.d2.layers import ShapeSpec


@pytest.fixture
def official(monkeypatch):
    """The official module, loaded from the checkout beside stand-ins for what it imports."""
    path = official_checkout() / "extra" / "swint.py"
    for name in ("detectron2", "detectron2.modeling"):
        stand_in(monkeypatch, name)
    stand_in(monkeypatch, "detectron2.layers", ShapeSpec=ShapeSpec)
    backbone = "detectron2.modeling.backbone"
    stand_in(monkeypatch, backbone, Backbone=nn.Module)
    stand_in(monkeypatch, f"{backbone}.build", BACKBONE_REGISTRY=Registry("BACKBONE"))
    unused = dict.fromkeys(("FPN", "LastLevelMaxPool", "LastLevelP6P7"))
    stand_in(monkeypatch, f"{backbone}.fpn", **unused)
    stand_in(monkeypatch, "timm.models.layers", **vars(timm.layers))
    monkeypatch.setattr(dyhead, "DyHead", None, raising=False)
    return load_official(monkeypatch, "official_swint", path)


def both(official, cfg):
    """Ours and theirs from one config, with the same weights under the same names."""
    ours, theirs = build_swint(cfg), official.build_swint_backbone(cfg, ShapeSpec(channels=3))
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter += 0.2 * torch.randn_like(parameter)
    weights = dict(theirs.named_parameters())
    report = ours.load_state_dict(weights, strict=True)
    assert not report.missing_keys
    return ours, theirs, list(weights)


@pytest.mark.filterwarnings("ignore:.*meshgrid.*")
@pytest.mark.parametrize(("height", "width", "batch"), [(96, 96, 1), (90, 123, 3), (7, 5, 1)])
@pytest.mark.parametrize(
    ("dtype", "forward", "backward"),
    [(torch.float64, 1e-10, 1e-10), (torch.float32, 1e-5, 1e-4)],
    ids=["float64", "float32"],
)
@pytest.mark.parametrize("keys", [{}, {"APE": True, "WINDOW_SIZE": 4, "MLP_RATIO": 2}])
def test_equals_the_official_module(official, keys, dtype, forward, backward, height, width, batch):
    torch.manual_seed(0)
    ours, theirs, names = both(official, tiny_config(**keys))
    results = []
    for swin in (ours, theirs):
        swin.to(dtype)
        parameters = [swin.get_parameter(name) for name in names]
        images = make_images(height, width, batch).to(dtype)
        results.append(outputs_and_gradients(swin, images, parameters))
    (outputs, grads), (expected, expected_grads) = results
    assert list(outputs) == list(expected)
    assert_same(outputs.values(), expected.values(), forward)
    assert_same(grads, expected_grads, backward)


@pytest.mark.filterwarnings("ignore:.*meshgrid.*")
def test_has_the_official_names_and_shapes_in_full_size(official):
    cfg = make_config(OUT_FEATURES=["stage3", "stage4", "stage5"])
    with torch.device("meta"):
        ours = build_swint(cfg)
    theirs = official.build_swint_backbone(cfg, ShapeSpec(channels=3))
    expected = {name: parameter.shape for name, parameter in theirs.named_parameters()}
    assert {name: parameter.shape for name, parameter in ours.named_parameters()} == expected
    assert ours.output_shape() == theirs.output_shape()


@pytest.mark.filterwarnings("ignore:.*meshgrid.*")
@pytest.mark.parametrize("freeze_at", [-1, 0, 1, 2, 3, 5])
def test_freezes_what_the_official_module_freezes(official, freeze_at):
    cfg = tiny_config(APE=True)
    cfg.MODEL.BACKBONE.FREEZE_AT = freeze_at
    ours, theirs, names = both(official, cfg)
    frozen = {name for name in names if not theirs.get_parameter(name).requires_grad}
    assert {name for name in names if not ours.get_parameter(name).requires_grad} == frozen
