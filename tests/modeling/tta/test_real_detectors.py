"""Multi-scale testing of real detectors: by one view, and of Faster R-CNN as in Detectron2."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import dyhead.modeling  # noqa: F401  registers the models
from dyhead.config import load_config
from dyhead.d2 import HOST
from dyhead.d2.config import CfgNode
from dyhead.d2.modeling import build_model
from dyhead.modeling.tta import build_multi_scale_testing


def tiny(meta_architecture: str) -> CfgNode:
    """A detector with random weights and low thresholds, which finds a lot."""
    cfg, _ = load_config("", ["TEST.AUG.ENABLED", "True"])
    cfg.MODEL.META_ARCHITECTURE, cfg.MODEL.DEVICE = meta_architecture, "cpu"
    cfg.MODEL.RESNETS.DEPTH, cfg.MODEL.RESNETS.RES2_OUT_CHANNELS = 18, 64
    cfg.MODEL.FPN.OUT_CHANNELS = 16
    cfg.MODEL.ANCHOR_GENERATOR.SIZES = [[16], [32], [64], [128], [256]]
    levels = ["p3", "p4", "p5", "p6", "p7"]
    if meta_architecture == "GeneralizedRCNN":
        levels = ["p2", "p3", "p4", "p5", "p6"]
        cfg.MODEL.BACKBONE.NAME = "build_resnet_fpn_backbone"
        cfg.MODEL.RESNETS.OUT_FEATURES = cfg.MODEL.FPN.IN_FEATURES = [
            "res2",
            "res3",
            "res4",
            "res5",
        ]
        cfg.MODEL.RPN.IN_FEATURES = levels
        cfg.MODEL.RPN.POST_NMS_TOPK_TEST = 60
        roi_heads = cfg.MODEL.ROI_HEADS
        roi_heads.NAME, roi_heads.IN_FEATURES = "StandardROIHeads", levels[:4]
        roi_heads.NUM_CLASSES, roi_heads.SCORE_THRESH_TEST = 2, 0.01
        box_head = cfg.MODEL.ROI_BOX_HEAD
        box_head.NAME, box_head.NUM_FC, box_head.FC_DIM = "FastRCNNConvFCHead", 1, 32
        box_head.POOLER_RESOLUTION = 7
        return cfg
    cfg.MODEL.BACKBONE.NAME = "build_retinanet_resnet_fpn_backbone"
    cfg.MODEL.RESNETS.OUT_FEATURES = cfg.MODEL.FPN.IN_FEATURES = ["res3", "res4", "res5"]
    retinanet, atss = cfg.MODEL.RETINANET, cfg.MODEL.ATSS
    retinanet.NUM_CLASSES = atss.NUM_CLASSES = 2
    retinanet.NUM_CONVS, atss.NUM_CONVS, atss.CHANNELS = 1, 1, 16
    atss.USE_GN = False
    retinanet.SCORE_THRESH_TEST = atss.INFERENCE_TH = 0.001
    return cfg


def random_image(tmp_path: Path) -> dict[str, Any]:
    pixels = np.random.default_rng(0).integers(0, 255, (72, 96, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "random.png")
    bgr = torch.as_tensor(pixels[:, :, ::-1].transpose(2, 0, 1).copy())
    name = str(tmp_path / "random.png")
    return {"image": bgr, "file_name": name, "height": 72, "width": 96}


@pytest.fixture
def build() -> Callable[[CfgNode], nn.Module]:
    def build_tiny(cfg: CfgNode) -> nn.Module:
        torch.manual_seed(0)
        model = build_model(cfg).eval()
        for name, parameter in model.named_parameters():  # scores that differ
            if "cls_" in name:
                parameter.data += 0.1 * torch.randn_like(parameter)
        return model

    return build_tiny


@pytest.mark.parametrize("merge", ["nms", "wbf"])
@pytest.mark.parametrize("meta_architecture", ["ATSS", "RetinaNet", "GeneralizedRCNN"])
def test_one_view_gives_the_detections_of_the_model(
    build: Callable[[CfgNode], nn.Module], tmp_path: Path, meta_architecture: str, merge: str
) -> None:
    cfg = tiny(meta_architecture)
    cfg.TEST.AUG.MIN_SIZES, cfg.TEST.AUG.FLIP, cfg.TEST.AUG.MERGE = (72,), False, merge
    model, x = build(cfg), random_image(tmp_path)
    with torch.no_grad():
        plain = model([x])[0]["instances"]
    found = build_multi_scale_testing(cfg, model)([{**x, "image": x["image"][:, :9, :9]}])
    found = found[0]["instances"]
    assert len(plain) > 10
    for field in ("scores", "pred_classes"):
        torch.testing.assert_close(found.get(field), plain.get(field), rtol=0, atol=0)
    torch.testing.assert_close(found.pred_boxes.tensor, plain.pred_boxes.tensor, rtol=0, atol=0)


@pytest.mark.skipif(HOST != "detectron2", reason="compares with genuine Detectron2")
def test_faster_rcnn_as_in_detectron2s_own_augmentation(
    build: Callable[[CfgNode], nn.Module], tmp_path: Path
) -> None:
    from detectron2.modeling import GeneralizedRCNNWithTTA

    cfg = tiny("GeneralizedRCNN")
    cfg.TEST.AUG.MIN_SIZES, cfg.TEST.AUG.MAX_SIZE = (48, 72, 101), 128
    model, x = build(cfg), random_image(tmp_path)
    with torch.no_grad():
        expected = GeneralizedRCNNWithTTA(cfg, model, batch_size=1)([x])[0]["instances"]
    found = build_multi_scale_testing(cfg, model)([x])[0]["instances"]
    assert len(expected) > 20
    torch.testing.assert_close(found.scores, expected.scores)
    assert torch.equal(found.pred_classes, expected.pred_classes)
    torch.testing.assert_close(
        found.pred_boxes.tensor, expected.pred_boxes.tensor, rtol=1e-5, atol=1e-3
    )
