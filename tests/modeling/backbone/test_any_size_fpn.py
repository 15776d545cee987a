"""The pyramid for images of any size against the host's, and at sizes that the host's refuses."""

import pytest
import timm
import torch
from torch import Tensor, nn

from dyhead.config import add_dyhead_config
from dyhead.d2.config import CfgNode, get_cfg
from dyhead.d2.layers import ShapeSpec
from dyhead.d2.modeling import FPN, Backbone, build_backbone
from dyhead.modeling.backbone.any_size_fpn import AnySizeFPN
from dyhead.modeling.backbone.pyramid import build_max_pool, build_p6p7

STRIDES = {"c3": 8, "c4": 16, "c5": 32}


class Halving(Backbone):
    """Convolutions of stride 2, which round sizes up, or pooling, which rounds them down."""

    def __init__(self, rounds_up: bool = True, channels: int = 3) -> None:
        super().__init__()
        self.stem = nn.Conv2d(channels, 8, 8, 8)
        down: list[nn.Module] = [nn.Conv2d(8, 8, 3, 2, 1) for _ in range(2)]
        self.down = nn.ModuleList(down if rounds_up else [nn.MaxPool2d(2) for _ in range(2)])
        self.norm = nn.BatchNorm2d(8)
        self._out_features = list(STRIDES)
        self._out_feature_strides = dict(STRIDES)
        self._out_feature_channels = dict.fromkeys(STRIDES, 8)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        features = [self.norm(self.stem(images))]
        for layer in self.down:
            features.append(layer(features[-1]))
        return dict(zip(STRIDES, features, strict=True))


def any_size(bottom_up: Backbone, **options: object) -> AnySizeFPN:
    return AnySizeFPN(bottom_up, list(STRIDES), out_channels=8, image_channels=3, **options)


def config() -> CfgNode:
    cfg = get_cfg()
    add_dyhead_config(cfg)
    cfg.MODEL.FPN.OUT_CHANNELS = 8
    return cfg


@pytest.mark.parametrize("top", ["p6p7", "maxpool", ""])
@pytest.mark.parametrize(("norm", "fuse_type"), [("", "sum"), ("GN", "avg")])
def test_values_are_the_hosts_where_it_takes_the_image(top: str, norm: str, fuse_type: str) -> None:
    cfg = config()
    cfg.MODEL.FPN.OUT_CHANNELS = 32
    builders = {"p6p7": lambda: build_p6p7(cfg), "maxpool": build_max_pool, "": lambda: None}
    arguments = {"in_features": list(STRIDES), "out_channels": 32, "norm": norm}
    arguments |= {"bottom_up": Halving(), "fuse_type": fuse_type, "top_block": builders[top]()}
    host, ours = FPN(**arguments), AnySizeFPN(**arguments, image_channels=3)
    ours.load_state_dict(host.state_dict())
    images = torch.randn(2, 3, 96, 160)
    expected, levels = host.eval()(images), ours.eval()(images)
    assert list(levels) == list(expected)
    assert ours.output_shape() == host.output_shape()
    for name, level in levels.items():
        assert torch.equal(level, expected[name])


@pytest.mark.parametrize("size", [(8, 8), (8, 200), (72, 104), (136, 40), (264, 344)])
def test_levels_have_whole_positions_for_all_of_the_image(size: tuple[int, int]) -> None:
    levels = any_size(Halving(), top_block=build_p6p7(config())).eval()(torch.randn(1, 3, *size))
    for number, level in enumerate(levels.values()):
        assert level.shape[2:] == tuple(-(-side // (8 << number)) for side in size)


class Given(Backbone):
    """Gives features of strides 8 and 16 that it is told."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))
        self.features: list[Tensor] = []
        self._out_features = ["c3", "c4"]
        self._out_feature_strides = {"c3": 8, "c4": 16}
        self._out_feature_channels = {"c3": 1, "c4": 1}

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        return dict(zip(self._out_features, self.features, strict=False))


def test_every_position_gets_the_coarser_one_that_it_lies_in() -> None:
    bottom_up = Given()
    bottom_up.features = [torch.zeros(1, 1, 9, 13), torch.zeros(1, 1, 5, 7)]  # of the trial
    pyramid = AnySizeFPN(bottom_up, ["c3", "c4"], out_channels=1, image_channels=3)
    for name, parameter in pyramid.named_parameters():
        nn.init.dirac_(parameter) if name.endswith("weight") else nn.init.zeros_(parameter)
    for height in range(1, 200):
        coarse = torch.randn(1, 1, -(-height // 2), 2)
        bottom_up.features = [torch.zeros(1, 1, height, 3), coarse]
        wanted = coarse.repeat_interleave(2, 2).repeat_interleave(2, 3)[:, :, :height, :3]
        assert torch.equal(pyramid(torch.empty(0))["p3"], wanted)


def test_a_backbone_that_rounds_down_gets_whole_sizes() -> None:
    assert any_size(Halving()).size_divisibility == 8
    assert any_size(Halving(rounds_up=False)).size_divisibility == 32


def test_a_backbone_that_refuses_other_sizes_gets_whole_sizes() -> None:
    backbone = Halving()
    backbone.register_forward_pre_hook(refuse_other_sizes)
    assert any_size(backbone).size_divisibility == 32


def refuse_other_sizes(module: nn.Module, inputs: tuple[Tensor]) -> None:
    if any(side % 32 for side in inputs[0].shape[2:]):
        raise ValueError("multiples of 32 alone")


def test_the_trial_leaves_mode_statistics_and_random_numbers_alone() -> None:
    backbone = Halving().train()
    before = {name: value.clone() for name, value in backbone.state_dict().items()}
    torch.manual_seed(0)
    any_size(Halving(), top_block=build_p6p7(config()))
    expected = torch.rand(1)
    torch.manual_seed(0)
    FPN(Halving(), list(STRIDES), 8, top_block=build_p6p7(config()))
    assert torch.equal(torch.rand(1), expected)
    any_size(backbone)
    assert all(module.training for module in backbone.modules())
    for name, value in backbone.state_dict().items():
        assert torch.equal(value, before[name])


TIMM = "build_timm_fpn_dyhead_backbone"
BACKBONES = {
    "resnet": ("build_retinanet_resnet_fpn_dyhead_backbone", "", ["res3", "res4", "res5"], 8),
    "regions": ("build_resnet_fpn_dyhead_backbone", "", ["res2", "res3", "res4", "res5"], 4),
    "swin": ("build_retinanet_swint_fpn_dyhead_backbone", "", ["stage3", "stage4", "stage5"], 8),
    "timm, rounding up": (TIMM, "test_efficientnet", [], 8),
    "timm, rounding down": (TIMM, "test_convnext", [], 32),
}


@pytest.mark.parametrize("name", BACKBONES)
def test_without_padding_backbones_take_what_they_need(name: str) -> None:
    builder, model, features, divisor = BACKBONES[name]
    if model and not timm.is_model(model):
        pytest.skip(f"timm {timm.__version__} has no {model}")
    cfg = config()
    cfg.MODEL.PADDING_IN_STATISTICS = False
    cfg.MODEL.BACKBONE.NAME, cfg.MODEL.TIMM.NAME = builder, model
    cfg.MODEL.SWINT.EMBED_DIM, cfg.MODEL.SWINT.DEPTHS = 12, [1, 1, 1, 1]
    cfg.MODEL.RESNETS.OUT_FEATURES = ["res2", "res3", "res4", "res5"]
    cfg.MODEL.FPN.IN_FEATURES = features
    cfg.MODEL.FPN.OUT_CHANNELS = cfg.MODEL.DYHEAD.CHANNELS = 16
    cfg.MODEL.DYHEAD.NUM_CONVS = 1
    backbone = build_backbone(cfg, ShapeSpec(channels=3))
    assert backbone.size_divisibility == divisor
    size = 9 * divisor, 5 * divisor
    levels = backbone(torch.randn(1, 3, *size))
    for name, shape in backbone.output_shape().items():
        assert levels[name].shape[2:] == tuple(-(-side // shape.stride) for side in size)
