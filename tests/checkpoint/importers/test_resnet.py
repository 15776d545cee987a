"""ImageNet weights of ResNets give the same features under our names."""

import pickle
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
import torchvision
from small_models import assert_same_weights, make
from torch import nn

from dyhead.checkpoint import SafeCheckpointer
from dyhead.checkpoint.importers import import_weights
from dyhead.config import load_config
from dyhead.d2.config import CfgNode
from dyhead.d2.layers import ShapeSpec
from dyhead.d2.modeling import build_resnet_backbone


def resnet_of(cfg: CfgNode) -> nn.Module:
    return build_resnet_backbone(cfg, ShapeSpec(channels=3)).eval()


@pytest.mark.parametrize("depth", [18, 50])
def test_torchvision_resnet_gives_the_same_features(tmp_path: Path, depth: int) -> None:
    torch.manual_seed(0)
    theirs = getattr(torchvision.models, f"resnet{depth}")().eval()
    path = tmp_path / "resnet.pth"
    torch.save(theirs.state_dict(), path)
    cfg, _ = load_config("", ["MODEL.RESNETS.DEPTH", str(depth)])
    cfg.MODEL.RESNETS.STRIDE_IN_1X1 = False
    cfg.MODEL.RESNETS.OUT_FEATURES = ["res5"]
    if depth == 18:
        cfg.MODEL.RESNETS.RES2_OUT_CHANNELS = 64
    ours = resnet_of(cfg)
    SafeCheckpointer(ours).load(str(path))
    images = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        features = torchvision.models._utils.IntermediateLayerGetter(theirs, {"layer4": "res5"})
        expected = features(images)["res5"]
        actual = ours(images)["res5"]
    torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-4)


def test_timm_resnet_has_the_same_names() -> None:
    imported = import_weights(timm.create_model("resnet50").state_dict())
    assert imported is not None
    assert (
        imported.weights.keys()
        == import_weights(torchvision.models.resnet50().state_dict()).weights.keys()
    )


def msra_blobs(model: nn.Module) -> dict[str, np.ndarray]:
    """A ResNet's weights as the MSRA files name them."""
    blobs = {"fc1000_w": np.zeros((2, 2), np.float32), "conv1_w_momentum": np.zeros(1, np.float32)}
    branches = {
        "conv1": "branch2a",
        "conv2": "branch2b",
        "conv3": "branch2c",
        "shortcut": "branch1",
    }
    for name, value in model.state_dict().items():
        if "running" in name or "num_batches" in name:
            continue
        stage, *rest = name.split(".")
        kind = {"weight": "w"}[rest[-1]] if "norm" not in rest else f"bn_{rest[-1][0]}"
        kind = {"bn_w": "bn_s"}.get(kind, kind)
        if stage == "stem":
            key = "conv1_w" if kind == "w" else f"res_conv1_{kind}"
        else:
            key = f"{stage}_{rest[0]}_{branches[rest[1]]}_{kind}"
        blobs[key] = value.numpy()
    return blobs


def test_msra_pickle_loads_with_statistics_folded_in(tmp_path: Path) -> None:
    cfg, model = make("dyhead_r50_atss_fpn_1x.yaml")
    bottom_up = model.backbone.fpn.bottom_up
    path = tmp_path / "R-50.pkl"
    path.write_bytes(pickle.dumps(msra_blobs(bottom_up), protocol=2))
    _, other = make("dyhead_r50_atss_fpn_1x.yaml")
    for parameter in other.parameters():
        nn.init.zeros_(parameter.data)
    SafeCheckpointer(other, cfg=cfg).load(str(path))
    loaded = other.backbone.fpn.bottom_up.state_dict()
    for name, value in bottom_up.state_dict().items():
        if "running_mean" in name:
            value = torch.zeros_like(value)
        if "running_var" in name:
            value = torch.full_like(value, 1 - 1e-5)
        assert torch.equal(loaded[name], value), name


def test_caffe2_statistics_group_norm_and_strangers_are_kept() -> None:
    weights = {
        "conv1_w": torch.zeros(4, 3, 7, 7),
        "res_conv1_bn_s": torch.ones(4),
        "res_conv1_bn_rm": torch.full((4,), 2.0),
        "res_conv1_bn_riv": torch.full((4,), 3.0),
        "res2_0_branch2a_w": torch.zeros(8, 4, 1, 1),
        "res2_0_branch2b_w": torch.zeros(8, 2, 3, 3),  # 4 groups: a ResNeXt
        "mystery": torch.zeros(1),
        "pred_w": torch.zeros(1),
    }
    imported = import_weights(weights)
    assert imported is not None
    assert torch.equal(imported.weights["stem.conv1.norm.running_mean"], torch.full((4,), 2.0))
    assert torch.equal(imported.weights["stem.conv1.norm.running_var"], torch.full((4,), 3.0))
    assert "mystery" in imported.weights and "pred_w" not in imported.weights
    assert imported.requirements["MODEL.RESNETS.STRIDE_IN_1X1"] is False
    assert imported.requirements["MODEL.PIXEL_STD"][0] == 57.375

    with_groups = import_weights(
        {
            "conv1_w": torch.zeros(4, 3, 7, 7),
            "conv1_gn_s": torch.ones(4),
            "res2_0_branch2a_w": torch.zeros(4, 4, 1, 1),
            "res2_0_branch2a_gn_b": torch.ones(4),
        }
    )
    assert with_groups is not None
    assert with_groups.weights.keys() == {
        "stem.conv1.weight",
        "stem.conv1.norm.weight",
        "res2.0.conv1.weight",
        "res2.0.conv1.norm.bias",
    }
    assert with_groups.requirements["MODEL.RESNETS.STRIDE_IN_1X1"] is False


def test_backbone_under_detectron2s_names(tmp_path: Path) -> None:
    cfg, model = make("dyhead_r50_atss_fpn_1x.yaml")
    weights = {n: v.numpy() for n, v in model.backbone.fpn.bottom_up.state_dict().items()}
    weights["stem.fc.weight"] = np.zeros((2, 2), np.float32)
    path = tmp_path / "R-50.pkl"
    zoo = {"model": weights, "__author__": "torchvision", "matching_heuristics": True}
    path.write_bytes(pickle.dumps(zoo))
    _, other = make("dyhead_r50_atss_fpn_1x.yaml")
    for parameter in other.parameters():
        nn.init.zeros_(parameter.data)
    SafeCheckpointer(other, cfg=cfg).load(str(path))
    assert_same_weights(other.backbone.fpn.bottom_up, model.backbone.fpn.bottom_up)


def test_backbone_trained_otherwise_gets_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cfg, model = make("dyhead_r50_atss_fpn_1x.yaml", "MODEL.RESNETS.STRIDE_IN_1X1", "False")
    path = tmp_path / "R-50.pkl"
    path.write_bytes(pickle.dumps(msra_blobs(model.backbone.fpn.bottom_up)))
    SafeCheckpointer(model, cfg=cfg).load(str(path))
    assert "trained with other settings" in caplog.text
    assert "MODEL.RESNETS.STRIDE_IN_1X1 True" in caplog.text
    assert "INPUT.FORMAT" not in caplog.text
