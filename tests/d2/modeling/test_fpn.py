"""Feature pyramids and their builders."""

import pytest
import torch
from torch import nn

from dyhead.d2.config import get_cfg
from dyhead.d2.layers import ShapeSpec
from dyhead.d2.modeling import FPN, Backbone, build_backbone
from dyhead.d2.modeling.backbone.fpn import LastLevelMaxPool, LastLevelP6P7


class Pyramid(Backbone):
    """Hands out the features it is called with."""

    def __init__(self, strides=(4, 8, 16), channels=(5, 6, 7)):
        super().__init__()
        self.shapes = {
            f"res{index + 2}": ShapeSpec(channels=width, stride=stride)
            for index, (width, stride) in enumerate(zip(channels, strides, strict=True))
        }

    def forward(self, x):
        return x

    def output_shape(self):
        return self.shapes


def features_of(bottom_up: Pyramid, size: int = 64) -> dict[str, torch.Tensor]:
    return {
        name: torch.rand(2, shape.channels, size // shape.stride, size // shape.stride)
        for name, shape in bottom_up.output_shape().items()
    }


def fpn_config(name: str):
    cfg = get_cfg()
    cfg.MODEL.BACKBONE.NAME = name
    cfg.MODEL.RESNETS.DEPTH = 18
    cfg.MODEL.RESNETS.RES2_OUT_CHANNELS = 64
    cfg.MODEL.RESNETS.OUT_FEATURES = ["res3", "res4", "res5"]
    cfg.MODEL.FPN.IN_FEATURES = ["res3", "res4", "res5"]
    cfg.MODEL.FPN.OUT_CHANNELS = 32
    return cfg


@pytest.mark.parametrize("fuse_type", ["sum", "avg"])
def test_top_down_pathway(fuse_type):
    torch.manual_seed(0)
    bottom_up = Pyramid()
    fpn = FPN(bottom_up, ["res2", "res3", "res4"], 8, fuse_type=fuse_type)
    features = features_of(bottom_up)
    levels = fpn(features)
    divisor = 2 if fuse_type == "avg" else 1
    p4 = fpn.fpn_lateral4(features["res4"])
    p3 = fpn.fpn_lateral3(features["res3"]) + p4.repeat_interleave(2, 2).repeat_interleave(2, 3)
    p3 = p3 / divisor
    p2 = fpn.fpn_lateral2(features["res2"]) + p3.repeat_interleave(2, 2).repeat_interleave(2, 3)
    p2 = p2 / divisor
    torch.testing.assert_close(levels["p4"], fpn.fpn_output4(p4))
    torch.testing.assert_close(levels["p3"], fpn.fpn_output3(p3))
    torch.testing.assert_close(levels["p2"], fpn.fpn_output2(p2))
    assert list(levels) == ["p2", "p3", "p4"]
    assert fpn.size_divisibility == 16


def test_convolutions_are_listed_from_the_top_down():
    fpn = FPN(Pyramid(), ["res2", "res3", "res4"], 8)
    assert list(fpn.lateral_convs) == [getattr(fpn, f"fpn_lateral{n}") for n in (4, 3, 2)]
    assert list(fpn.output_convs) == [getattr(fpn, f"fpn_output{n}") for n in (4, 3, 2)]
    assert not any("convs" in name for name in fpn.state_dict())


def test_some_features_and_normalization():
    bottom_up = Pyramid()
    fpn = FPN(bottom_up, ["res3", "res4"], 32, norm="GN", square_pad=64)
    assert list(fpn(features_of(bottom_up))) == ["p3", "p4"]
    assert fpn.fpn_lateral3.bias is None
    assert isinstance(fpn.fpn_output4.norm, nn.GroupNorm)
    assert fpn.padding_constraints == {"square_size": 64}


def test_max_pool_takes_every_second_position():
    p5 = torch.arange(16.0).reshape(1, 1, 4, 4)
    assert LastLevelMaxPool()(p5)[0].flatten().tolist() == [0, 2, 8, 10]


@pytest.mark.parametrize("source", ["res4", "p4"])
def test_p6_p7_come_from_the_named_feature(source):
    bottom_up = Pyramid()
    top = LastLevelP6P7(7 if source == "res4" else 8, 8, source)
    fpn = FPN(bottom_up, ["res2", "res3", "res4"], 8, top_block=top)
    features = features_of(bottom_up)
    levels = fpn(features)
    p5 = top.p6(features["res4"] if source == "res4" else levels["p4"])
    torch.testing.assert_close(levels["p5"], p5)
    torch.testing.assert_close(levels["p6"], top.p7(p5.relu()))
    assert fpn.output_shape()["p6"] == ShapeSpec(channels=8, stride=64)


def test_images_of_odd_sizes_are_refused():
    bottom_up = Pyramid()
    features = features_of(bottom_up)
    features["res4"] = features["res4"][:, :, :-1]
    with pytest.raises((RuntimeError, ValueError)):
        FPN(bottom_up, ["res2", "res3", "res4"], 8)(features)


@pytest.mark.parametrize(
    "arguments", [{"in_features": []}, {"in_features": ["res2", "res4"]}, {"fuse_type": "max"}]
)
def test_bad_arguments_are_refused(arguments):
    arguments = {"in_features": ["res2", "res3"], "out_channels": 8, **arguments}
    with pytest.raises((AssertionError, ValueError)):
        FPN(Pyramid(), **arguments)


@pytest.mark.parametrize(
    ("name", "levels"),
    [
        ("build_resnet_fpn_backbone", ["p3", "p4", "p5", "p6"]),
        ("build_retinanet_resnet_fpn_backbone", ["p3", "p4", "p5", "p6", "p7"]),
    ],
)
def test_builders(name, levels):
    backbone = build_backbone(fpn_config(name)).eval()
    with torch.no_grad():
        features = backbone(torch.rand(1, 3, 128, 160))
    shapes = backbone.output_shape()
    assert list(features) == list(shapes) == levels
    for level, feature in features.items():
        height, width = -(-128 // shapes[level].stride), -(-160 // shapes[level].stride)
        assert feature.shape == (1, 32, height, width)
    assert backbone.size_divisibility == 32
    keys = backbone.state_dict().keys()
    assert {"fpn_lateral3.weight", "fpn_output5.bias", "bottom_up.stem.conv1.weight"} <= keys
    assert ("top_block.p6.weight" in keys) == ("p7" in levels)
