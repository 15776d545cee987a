"""The Swin builders that the official config names."""

import pytest
import torch

from dyhead.config import load_config
from dyhead.d2.layers import ShapeSpec
from dyhead.d2.modeling import BACKBONE_REGISTRY, build_backbone, build_model
from dyhead.d2.structures import Boxes, Instances
from dyhead.modeling.backbone import DyHead, SwinTransformer

ONE_STAGE = "build_retinanet_swint_fpn_dyhead_backbone"
TWO_STAGE = "build_swint_fpn_dyhead_backbone"
STAGES = ["stage2", "stage3", "stage4", "stage5"]


def make_config(name=ONE_STAGE, official_file=""):
    cfg, _ = load_config(official_file)
    cfg.MODEL.META_ARCHITECTURE = "ATSS"
    cfg.MODEL.DEVICE = "cpu"
    cfg.MODEL.BACKBONE.NAME = name
    cfg.MODEL.SWINT.EMBED_DIM = 8
    cfg.MODEL.SWINT.DEPTHS = [1, 2, 1, 1]
    cfg.MODEL.SWINT.NUM_HEADS = [1, 2, 2, 2]
    cfg.MODEL.SWINT.WINDOW_SIZE = 4
    first = 0 if name == TWO_STAGE else 1
    cfg.MODEL.SWINT.OUT_FEATURES = cfg.MODEL.FPN.IN_FEATURES = STAGES[first:]
    cfg.MODEL.FPN.OUT_CHANNELS = 16
    cfg.MODEL.DYHEAD.NUM_CONVS, cfg.MODEL.DYHEAD.CHANNELS = 1, 32
    cfg.MODEL.ATSS.NUM_CLASSES, cfg.MODEL.ATSS.NUM_CONVS = 3, 0
    cfg.MODEL.ANCHOR_GENERATOR.SIZES = [[64], [128], [256], [512], [1024]]
    cfg.MODEL.ANCHOR_GENERATOR.ASPECT_RATIOS = [1.0]
    return cfg


@pytest.mark.parametrize(
    ("name", "strides"),
    [
        (ONE_STAGE, {"p3": 8, "p4": 16, "p5": 32, "p6": 64, "p7": 128}),
        (TWO_STAGE, {"p2": 4, "p3": 8, "p4": 16, "p5": 32, "p6": 64}),
    ],
)
def test_builder_makes_what_its_output_shape_says(name, strides):
    backbone = build_backbone(make_config(name))
    assert isinstance(backbone, DyHead)
    assert isinstance(backbone.fpn.bottom_up, SwinTransformer)
    assert backbone.output_shape() == {
        level: ShapeSpec(channels=32, stride=stride) for level, stride in strides.items()
    }
    assert backbone.size_divisibility == max(strides.values())
    outputs = backbone(torch.randn(1, 3, 128, 256))
    assert {level: output.shape for level, output in outputs.items()} == {
        level: (1, 32, 128 // stride, 256 // stride) for level, stride in strides.items()
    }


def test_builders_are_registered_under_the_official_names():
    assert {ONE_STAGE, TWO_STAGE, "build_swint_backbone"} <= {name for name, _ in BACKBONE_REGISTRY}


def test_the_pyramid_is_the_configs():
    cfg = make_config()
    cfg.MODEL.FPN.RELU_BEFORE_P7 = False
    cfg.MODEL.DYHEAD.NUM_CONVS = 0
    backbone = build_backbone(cfg).eval()
    levels = backbone(torch.randn(1, 3, 128, 128))
    torch.testing.assert_close(levels["p7"], backbone.fpn.top_block.p7(levels["p6"]))


def test_a_detector_trains_every_parameter_and_detects():
    torch.manual_seed(0)
    model = build_model(make_config())
    instances = Instances((100, 120))
    instances.gt_boxes = Boxes(torch.tensor([[10.0, 12.0, 70.0, 80.0]]))
    instances.gt_classes = torch.tensor([1])
    image = torch.randint(0, 256, (3, 100, 120), dtype=torch.uint8)
    inputs = [{"image": image, "instances": instances}]
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    losses = []
    for _ in range(10):
        loss = sum(model(inputs).values())
        optimizer.zero_grad()
        loss.backward()
        assert all(parameter.grad.isfinite().all() for parameter in model.parameters())
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
    assert model.eval()(inputs)[0]["instances"].has("pred_boxes")
