"""ResNet and its builder."""

import pytest
import torch
from torch import nn

from dyhead.d2.config import get_cfg
from dyhead.d2.layers import FrozenBatchNorm2d, ShapeSpec
from dyhead.d2.modeling import ResNet, build_backbone
from dyhead.d2.modeling.backbone.resnet import (
    BasicBlock,
    BasicStem,
    BottleneckBlock,
    build_resnet_backbone,
)

IMAGE = ShapeSpec(channels=3)


def resnet_config(depth: int = 18, **options):
    cfg = get_cfg()
    cfg.MODEL.BACKBONE.FREEZE_AT = options.pop("FREEZE_AT", 0)
    cfg.MODEL.RESNETS.DEPTH = depth
    cfg.MODEL.RESNETS.RES2_OUT_CHANNELS = 64 if depth < 50 else 256
    cfg.MODEL.RESNETS.OUT_FEATURES = ["res2", "res3", "res4", "res5"]
    for key, value in options.items():
        cfg.MODEL.RESNETS[key] = value
    return cfg


def number_of_parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def test_features_have_the_shapes_that_are_announced():
    backbone = build_resnet_backbone(resnet_config(), IMAGE).eval()
    with torch.no_grad():
        features = backbone(torch.rand(2, 3, 64, 96))
    shapes = backbone.output_shape()
    assert list(features) == list(shapes) == ["res2", "res3", "res4", "res5"]
    for name, feature in features.items():
        stride = shapes[name].stride
        assert feature.shape == (2, shapes[name].channels, 64 // stride, 96 // stride)
    assert [shape.stride for shape in shapes.values()] == [4, 8, 16, 32]
    assert [shape.channels for shape in shapes.values()] == [64, 128, 256, 512]


# torchvision's counts without the classifier: an independent check of widths and depths.
@pytest.mark.parametrize(
    ("depth", "millions"), [(18, 11.177), (34, 21.285), (50, 23.508), (101, 42.500), (152, 58.144)]
)
def test_number_of_parameters_by_depth(depth, millions):
    with torch.device("meta"):
        stages = ResNet.make_default_stages(depth, norm="BN")
        backbone = ResNet(BasicStem(), stages)
    assert number_of_parameters(backbone) / 1e6 == pytest.approx(millions, abs=1e-3)
    assert list(backbone.output_shape()) == ["res5"]


def test_resnext_has_the_papers_size():
    cfg = resnet_config(50, NUM_GROUPS=32, WIDTH_PER_GROUP=4, STRIDE_IN_1X1=False, NORM="BN")
    with torch.device("meta"):
        backbone = build_resnet_backbone(cfg, IMAGE)
    assert number_of_parameters(backbone) / 1e6 == pytest.approx(22.980, abs=1e-3)
    assert backbone.res3[1].conv2.groups == 32


def test_state_dict_names():
    keys = build_resnet_backbone(resnet_config(50), IMAGE).state_dict().keys()
    assert {
        "stem.conv1.weight",
        "stem.conv1.norm.running_mean",
        "res2.0.shortcut.weight",
        "res2.0.shortcut.norm.bias",
        "res4.5.conv3.weight",
        "res5.2.conv2.norm.weight",
    } <= keys
    assert "res2.1.shortcut.weight" not in keys
    assert not any("num_batches_tracked" in key for key in keys)


@pytest.mark.parametrize(("in_1x1", "strides"), [(True, (2, 1)), (False, (1, 2))])
def test_which_convolution_has_the_stride(in_1x1, strides):
    with torch.device("meta"):
        block = build_resnet_backbone(resnet_config(50, STRIDE_IN_1X1=in_1x1), IMAGE).res3[0]
    assert (block.conv1.stride[0], block.conv2.stride[0]) == strides


def test_dilation_keeps_the_resolution_of_res5():
    backbone = build_resnet_backbone(resnet_config(50, RES5_DILATION=2), IMAGE).eval()
    with torch.no_grad():
        features = backbone(torch.rand(1, 3, 32, 32))
    assert backbone.output_shape()["res5"].stride == 16
    assert features["res5"].shape == (1, 2048, 2, 2)
    assert backbone.res5[0].conv2.dilation == (2, 2)


@pytest.mark.parametrize("freeze_at", [-1, 0, 1, 2, 5])
def test_freezing_the_first_parts(freeze_at):
    cfg = resnet_config(NORM="BN", FREEZE_AT=freeze_at)
    backbone = build_resnet_backbone(cfg, IMAGE)
    for index, name in enumerate(["stem", "res2", "res3", "res4", "res5"], start=1):
        part = getattr(backbone, name)
        frozen = index <= freeze_at
        assert all(p.requires_grad != frozen for p in part.parameters()), name
        norms = {type(m) for m in part.modules() if "BatchNorm" in type(m).__name__}
        assert norms == {FrozenBatchNorm2d if frozen else nn.BatchNorm2d}, name


def test_training_with_frozen_statistics_reaches_every_weight():
    backbone = build_resnet_backbone(resnet_config(NORM="FrozenBN"), IMAGE).train()
    buffers = {name: value.clone() for name, value in backbone.named_buffers()}
    features = backbone(torch.rand(1, 3, 64, 64))
    sum(feature.square().mean() for feature in features.values()).backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in backbone.parameters())
    for name, value in backbone.named_buffers():
        assert torch.equal(value, buffers[name])


def test_stages_without_use_are_not_kept():
    stages = ResNet.make_default_stages(18)
    assert not hasattr(ResNet(BasicStem(), stages, out_features=["res2"]), "res3")
    backbone = ResNet(BasicStem(), stages, out_features=["res2", "res5"])
    assert hasattr(backbone, "res4")
    assert list(backbone(torch.rand(2, 3, 32, 32))) == ["res2", "res5"]


def test_stem_feature_and_classifier():
    classifier = ResNet(BasicStem(), ResNet.make_default_stages(18), num_classes=7)
    assert classifier(torch.rand(2, 3, 32, 32))["linear"].shape == (2, 7)
    stem_only = ResNet(BasicStem(), ResNet.make_default_stages(18), out_features=["stem", "res2"])
    assert stem_only(torch.rand(1, 3, 32, 32))["stem"].shape == (1, 64, 8, 8)


def test_arguments_per_block():
    blocks = ResNet.make_stage(
        BottleneckBlock,
        3,
        in_channels=16,
        out_channels=32,
        bottleneck_channels=8,
        stride_per_block=[2, 1, 1],
        dilation_per_block=[1, 1, 2],
    )
    assert [block.stride for block in blocks] == [2, 1, 1]
    assert [block.conv2.dilation[0] for block in blocks] == [1, 1, 2]
    assert blocks[0].shortcut is not None
    assert blocks[1].shortcut is None
    assert nn.Sequential(*blocks)(torch.rand(1, 16, 8, 8)).shape == (1, 32, 4, 4)
    with pytest.raises((AssertionError, ValueError), match="stride_per_block"):
        ResNet.make_stage(
            BasicBlock, 2, in_channels=8, out_channels=8, stride_per_block=[1], norm="BN"
        )


@pytest.mark.parametrize(
    ("depth", "option", "value"),
    [
        (18, "RES2_OUT_CHANNELS", 256),
        (18, "NUM_GROUPS", 32),
        (34, "RES5_DILATION", 2),
        (50, "RES5_DILATION", 3),
    ],
)
def test_contradicting_options_are_refused(depth, option, value):
    with pytest.raises((AssertionError, ValueError), match=f"(?i){option}"):
        build_resnet_backbone(resnet_config(depth, **{option: value}), IMAGE)


def test_unknown_features_are_refused():
    with pytest.raises((AssertionError, ValueError), match="res5"):
        build_resnet_backbone(resnet_config(OUT_FEATURES=["res5", "res9"]), IMAGE)


def test_images_without_a_batch_are_refused():
    backbone = build_resnet_backbone(resnet_config(OUT_FEATURES=["res2"]), IMAGE)
    with pytest.raises((AssertionError, ValueError), match="N, C, H, W"):
        backbone(torch.rand(3, 32, 32))


def test_backbone_is_found_by_name_with_the_images_channels():
    cfg = resnet_config(OUT_FEATURES=["res2"])
    cfg.MODEL.BACKBONE.NAME = "build_resnet_backbone"
    cfg.MODEL.PIXEL_MEAN = [0.5]
    assert build_backbone(cfg).stem.conv1.in_channels == 1
