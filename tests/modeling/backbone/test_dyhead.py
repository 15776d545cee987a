"""The DyHead wrapper and the builders that the official configs name."""

import pytest
import torch

from dyhead.config import add_dyhead_config
from dyhead.d2.config import get_cfg
from dyhead.d2.layers import ShapeSpec
from dyhead.d2.modeling import BACKBONE_REGISTRY, Backbone, build_backbone
from dyhead.layers import BlockOptions
from dyhead.modeling.backbone import DyHead

ONE_STAGE = "build_retinanet_resnet_fpn_dyhead_backbone"
TWO_STAGE = "build_resnet_fpn_dyhead_backbone"


class Pyramid(Backbone):
    """Levels p3 to p5 by plain pooling of the image."""

    def __init__(self, channels=(16, 16, 16)):
        super().__init__()
        self._out_features = ["p3", "p4", "p5"]
        self._out_feature_strides = {"p3": 8, "p4": 16, "p5": 32}
        self._out_feature_channels = dict(zip(self._out_features, channels, strict=True))

    @property
    def padding_constraints(self):
        return {"square_size": 96}

    def forward(self, images):
        return {
            name: torch.nn.functional.avg_pool2d(images, stride).repeat(1, 6, 1, 1)[:, :16]
            for name, stride in self._out_feature_strides.items()
        }


def make_config(name, num_convs=1, channels=32):
    cfg = get_cfg()
    add_dyhead_config(cfg)
    cfg.MODEL.BACKBONE.NAME = name
    cfg.MODEL.RESNETS.DEPTH = 18
    cfg.MODEL.RESNETS.RES2_OUT_CHANNELS = 64
    cfg.MODEL.RESNETS.OUT_FEATURES = ["res2", "res3", "res4", "res5"]
    cfg.MODEL.FPN.IN_FEATURES = ["res3", "res4", "res5"]
    if name == TWO_STAGE:
        cfg.MODEL.FPN.IN_FEATURES = ["res2", "res3", "res4", "res5"]
    cfg.MODEL.FPN.OUT_CHANNELS = 16
    cfg.MODEL.DYHEAD.NUM_CONVS = num_convs
    cfg.MODEL.DYHEAD.CHANNELS = channels
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
    assert backbone.output_shape() == {
        level: ShapeSpec(channels=32, stride=stride) for level, stride in strides.items()
    }
    assert backbone.size_divisibility == max(strides.values())
    outputs = backbone(torch.randn(1, 3, 128, 256))
    assert {level: output.shape for level, output in outputs.items()} == {
        level: (1, 32, 128 // stride, 256 // stride) for level, stride in strides.items()
    }


def test_builders_are_registered_under_the_official_names():
    assert ONE_STAGE in BACKBONE_REGISTRY
    assert TWO_STAGE in BACKBONE_REGISTRY


def test_p6_reads_p5_and_p7_reads_p6_after_a_relu():
    backbone = build_backbone(make_config(ONE_STAGE, num_convs=0)).eval()
    levels = backbone(torch.randn(1, 3, 128, 128))
    top_block = backbone.fpn.top_block
    torch.testing.assert_close(levels["p6"], top_block.p6(levels["p5"]))
    torch.testing.assert_close(levels["p7"], top_block.p7(levels["p6"].relu()))


def test_without_blocks_it_is_the_pyramid():
    backbone = DyHead(Pyramid(), channels=32, num_blocks=0)
    images = torch.randn(2, 3, 64, 96)
    for name, level in backbone.fpn(images).items():
        assert backbone(images)[name].equal(level)
        assert backbone.output_shape()[name].channels == 16


def test_blocks_follow_the_pyramid():
    backbone = DyHead(Pyramid(), channels=32, num_blocks=2)
    images = torch.randn(2, 3, 64, 96)
    expected = backbone.blocks(backbone.fpn(images))
    for name, level in backbone(images).items():
        assert level.equal(expected[name])
        assert level.shape[1] == backbone.output_shape()[name].channels == 32


def test_state_dict_keys_start_with_the_part_they_belong_to():
    backbone = build_backbone(make_config(ONE_STAGE, num_convs=2))
    prefixes = {".".join(key.split(".")[:2]) for key in backbone.state_dict()}
    assert prefixes >= {"blocks.0", "blocks.1", "fpn.bottom_up", "fpn.fpn_lateral3"}
    assert all(prefix.startswith(("blocks.", "fpn.")) for prefix in prefixes)


def test_the_pyramids_padding_is_respected():
    backbone = DyHead(Pyramid(), channels=16, num_blocks=1)
    assert backbone.size_divisibility == 32
    assert backbone.padding_constraints == {"square_size": 96}


def test_every_parameter_is_trained():
    backbone = build_backbone(make_config(ONE_STAGE))
    outputs = backbone(torch.randn(2, 3, 128, 128))
    sum(output.square().mean() for output in outputs.values()).backward()
    parameters = [p for p in backbone.parameters() if p.requires_grad]
    assert parameters
    assert all(p.grad is not None and p.grad.isfinite().all() for p in parameters)


class OneLevel(Pyramid):
    """Level p5 alone, computed by a convolution."""

    def __init__(self):
        super().__init__()
        self._out_features = ["p5"]
        self.conv = torch.nn.Conv2d(3, 16, 32, 32)

    def forward(self, images):
        return {"p5": self.conv(images)}


@pytest.mark.parametrize("order", ["spatial_scale_task", "scale_spatial_task"])
def test_every_trained_parameter_of_a_level_alone_gets_a_gradient(order):
    """Several processes wait for the gradient of each parameter that requires one."""
    backbone = DyHead(OneLevel(), 16, num_blocks=2, options=BlockOptions(order=order))
    assert backbone.state_dict().keys() >= {"blocks.1.spatial_attention.coarser.norm.bias"}
    backbone(torch.randn(2, 3, 128, 96))["p5"].square().mean().backward()
    trained = {name for name, p in backbone.named_parameters() if p.requires_grad}
    with_gradient = {name for name, p in backbone.named_parameters() if p.grad is not None}
    assert trained == with_gradient
    assert {"fpn.conv.weight", "blocks.1.spatial_attention.same.weight"} <= trained


def test_levels_of_several_widths_are_refused():
    with pytest.raises(ValueError, match="one number of channels"):
        DyHead(Pyramid(channels=(16, 16, 32)), channels=16, num_blocks=1)
