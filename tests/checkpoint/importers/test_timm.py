"""Files of whole models of timm give the features that timm itself makes of them."""

import logging
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
import torchvision
from safetensors.torch import save_file
from small_models import randomise

from dyhead.checkpoint import SafeCheckpointer
from dyhead.checkpoint.importers import import_weights
from dyhead.config import load_config
from dyhead.d2.modeling import build_backbone
from dyhead.modeling.backbone import TimmBackbone

# timm makes features of them in four ways: as they are, with stages taken out of their list, by a
# class of its own, and wrapped.
MODELS = ["test_resnet", "test_convnext", "test_efficientnet", "test_vit"]


@pytest.fixture
def file_of(tmp_path: Path) -> Any:
    """Call it with a model's name to get the path of a file of the whole model."""

    def write(name: str) -> Path:
        model = timm.create_model(name)
        randomise(model)
        save_file(model.state_dict(), tmp_path / "model.safetensors")
        return tmp_path / "model.safetensors"

    return write


@pytest.mark.parametrize("name", MODELS)
def test_features_are_those_of_timm_with_the_same_file(
    name: str, file_of: Any, caplog: pytest.LogCaptureFixture
) -> None:
    path = file_of(name)
    features = ["stride16"] if name == "test_vit" else ["stride8", "stride16", "stride32"]
    ours = TimmBackbone(name, features).eval()
    with caplog.at_level(logging.INFO, "dyhead"):
        SafeCheckpointer(ours).load(str(path))
    size = {"img_size": (64, 96)} if name == "test_vit" else {}
    theirs = timm.create_model(
        name,
        pretrained=True,
        pretrained_cfg_overlay={"file": str(path)},
        features_only=True,
        out_indices=tuple(ours.model.feature_info.out_indices),
        **({"dynamic_img_size": True} if size else {}),
    ).eval()
    images = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        expected = theirs(images)
        for index, feature in enumerate(ours(images).values(), start=-len(features)):
            torch.testing.assert_close(feature, expected[index])
    assert "missing: 0" in caplog.text and "unexpected: 0" in caplog.text
    assert "left out: " in caplog.text and "left out: 0" not in caplog.text


def test_stages_that_no_feature_needs_are_left_out(file_of: Any) -> None:
    names = TimmBackbone("test_convnext", ["stride8"]).state_dict()
    weights = timm.create_model("test_convnext").state_dict()
    imported = import_weights(weights, names)
    assert imported is not None
    assert imported.weights.keys() == names.keys()
    assert {name.split(".")[0] for name in imported.left_out} == {"stages", "head"}


def test_a_resnet_on_timms_backbone_keeps_timms_names() -> None:
    weights = timm.create_model("resnet18").state_dict()
    on_timm = import_weights(weights, TimmBackbone("resnet18").state_dict())
    assert on_timm is not None and on_timm.source == "timm"
    assert "model.layer1.0.conv1.weight" in on_timm.weights
    on_detectron2 = import_weights(weights)
    assert on_detectron2 is not None and "res2.0.conv1.weight" in on_detectron2.weights


def test_another_depth_is_reported(caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    torch.save(timm.create_model("resnet26").state_dict(), tmp_path / "r26.pth")
    ours = TimmBackbone("resnet50")
    SafeCheckpointer(ours).load(str(tmp_path / "r26.pth"))
    assert "missing: 120 (model.layer1.2." in caplog.text


def test_the_file_fits_below_a_pyramid_and_blocks(file_of: Any) -> None:
    keys = ("MODEL.BACKBONE.NAME", "build_timm_fpn_dyhead_backbone", "MODEL.TIMM.NAME")
    small = ("MODEL.FPN.OUT_CHANNELS", "16", "MODEL.DYHEAD.CHANNELS", "16")
    cfg, _ = load_config("", [*keys, "test_convnext", *small, "MODEL.DYHEAD.NUM_CONVS", "1"])
    backbone = build_backbone(cfg)
    path = file_of("test_convnext")
    SafeCheckpointer(backbone, cfg=cfg).load(str(path))
    whole = timm.create_model("test_convnext", checkpoint_path=str(path))
    loaded = backbone.fpn.bottom_up.model.state_dict()
    assert torch.equal(
        loaded["stages_3.blocks.0.mlp.fc1.weight"],
        whole.state_dict()["stages.3.blocks.0.mlp.fc1.weight"],
    )


@pytest.mark.parametrize("name", ["test_resnet", "test_convnext", "test_efficientnet"])
def test_grey_images_have_the_features_that_they_have_in_colours(
    name: str, file_of: Any, caplog: pytest.LogCaptureFixture
) -> None:
    path = str(file_of(name))
    in_colours, in_grey = TimmBackbone(name).eval(), TimmBackbone(name, in_channels=1).eval()
    SafeCheckpointer(in_colours).load(path)
    with caplog.at_level(logging.INFO, "dyhead"):
        SafeCheckpointer(in_grey).load(path)
    assert "reshaped: 1 (model." in caplog.text and "other shape: 0" in caplog.text
    images = torch.randn(2, 1, 64, 96)
    with torch.no_grad():
        expected = in_colours(images.expand(-1, 3, -1, -1))
        for key, feature in in_grey(images).items():
            torch.testing.assert_close(feature, expected[key], rtol=1e-4, atol=1e-4)


def test_torchvisions_resnet_takes_grey_images_in_a_detectors_backbone(tmp_path: Path) -> None:
    weights = torchvision.models.resnet18().state_dict()
    torch.save(weights, tmp_path / "resnet.pth")
    grey = ("INPUT.FORMAT", "L", "MODEL.PIXEL_MEAN", "[100.0]", "MODEL.PIXEL_STD", "[50.0]")
    depth = ("MODEL.RESNETS.DEPTH", "18", "MODEL.RESNETS.RES2_OUT_CHANNELS", "64")
    cfg, _ = load_config("dyhead_r50_atss_fpn_1x", [*grey, *depth])
    backbone = build_backbone(cfg)
    SafeCheckpointer(backbone, cfg=cfg).load(str(tmp_path / "resnet.pth"))
    (stem,) = (w for name, w in backbone.state_dict().items() if name.endswith("stem.conv1.weight"))
    torch.testing.assert_close(stem, weights["conv1.weight"].sum(1, keepdim=True))
