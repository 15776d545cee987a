"""ResNet and ResNeXt with and without deformable stages, by YAML keys alone."""

import pytest
import torch
import torchvision
from torchvision.ops import deform_conv2d

from dyhead.config import add_dyhead_config
from dyhead.d2.config import get_cfg
from dyhead.d2.layers import ShapeSpec
from dyhead.d2.modeling import build_backbone, build_resnet_backbone
from dyhead.modeling.backbone import DeformBottleneckBlock, build_resnet

IMAGES = ShapeSpec(channels=3)
STAGES = ["res2", "res3", "res4", "res5"]
RESNEXT = {"DEPTH": 101, "NUM_GROUPS": 64, "WIDTH_PER_GROUP": 4, "STRIDE_IN_1X1": False}
DCN = {"DEFORM_ON_PER_STAGE": [False, True, True, True], "DEFORM_MODULATED": True}
SMALL = {"NUM_GROUPS": 4, "WIDTH_PER_GROUP": 2, "STEM_OUT_CHANNELS": 8, "RES2_OUT_CHANNELS": 16}


def make_config(**keys):
    cfg = get_cfg()
    add_dyhead_config(cfg)
    for key, value in {"OUT_FEATURES": STAGES, **keys}.items():
        cfg.MODEL.RESNETS[key] = value
    return cfg


def count(module):
    return sum(parameter.numel() for parameter in module.parameters())


def deformable_blocks(resnet):
    return {
        name: block
        for name, block in resnet.named_modules()
        if isinstance(block, DeformBottleneckBlock)
    }


@pytest.mark.parametrize(
    ("keys", "name"),
    [
        ({"DEPTH": 101}, "resnet101"),
        (RESNEXT, "resnext101_64x4d"),
        ({**RESNEXT, **DCN}, "resnext101_64x4d"),
    ],
    ids=["R101", "X101", "X101-DCN"],
)
def test_has_as_many_parameters_as_torchvisions(keys, name):
    with torch.device("meta"):
        resnet = build_resnet(make_config(NORM="BN", **keys), IMAGES)
        theirs = torchvision.models.get_model(name)
    offsets = sum(count(block.conv2_offset) for block in deformable_blocks(resnet).values())
    assert count(resnet) - offsets == count(theirs) - count(theirs.fc)
    deformable = keys.get("DEFORM_ON_PER_STAGE", [False] * 4)
    widths = [256 << stage for stage, on in enumerate(deformable) for _ in range(on)]
    blocks = [(3, 4, 23, 3)[stage] for stage, on in enumerate(deformable) if on]
    expected = sum(n * 27 * (9 * width + 1) for n, width in zip(blocks, widths, strict=True))
    assert offsets == expected


def test_x101_dcn_is_built_in_full():
    resnet = build_resnet(make_config(**RESNEXT, **DCN), IMAGES)
    stage3 = resnet.res3(torch.randn(1, 256, 8, 8))
    assert stage3.shape == (1, 512, 4, 4)
    assert stage3.isfinite().all()


def test_without_deformable_stages_it_is_the_hosts():
    cfg = make_config(**SMALL)
    torch.manual_seed(0)
    ours = build_resnet(cfg, IMAGES).state_dict()
    torch.manual_seed(0)
    theirs = build_resnet_backbone(cfg, IMAGES).state_dict()
    assert list(ours) == list(theirs)
    assert all(ours[key].equal(theirs[key]) for key in ours)


def naive_block(block, x):
    """A modulated block with one group of offsets: one call of torchvision per group."""
    out = block.conv1(x).relu()
    learned = block.conv2_offset(out)
    offset, mask = learned[:, :18], learned[:, 18:].sigmoid()
    stride = block.conv2_offset.stride
    groups = out.shape[1] // block.conv2.weight.shape[1]
    parts = [
        deform_conv2d(part, offset, weight, stride=stride, padding=1, mask=mask)
        for part, weight in zip(
            out.chunk(groups, 1), block.conv2.weight.chunk(groups, 0), strict=True
        )
    ]
    out = block.conv3(block.conv2.norm(torch.cat(parts, 1)).relu())
    return (out + (x if block.shortcut is None else block.shortcut(x))).relu()


def naive_resnet(resnet, images):
    x, features = resnet.stem(images), {}
    for name in STAGES:
        for block in resnet.get_submodule(name):
            x = naive_block(block, x) if isinstance(block, DeformBottleneckBlock) else block(x)
        features[name] = x
    return features


def test_a_resnext_dcn_equals_the_double():
    torch.manual_seed(0)
    resnet = build_resnet(make_config(**SMALL, **DCN), IMAGES).double().eval()
    for block in deformable_blocks(resnet).values():
        torch.nn.init.normal_(block.conv2_offset.weight, std=0.02)
        torch.nn.init.normal_(block.conv2_offset.bias)
    images = torch.randn(2, 3, 64, 96, dtype=torch.float64)
    parameters = [parameter for parameter in resnet.parameters() if parameter.requires_grad]
    results = []
    for function in (resnet, lambda images: naive_resnet(resnet, images)):
        features = function(images)
        total = sum(feature.square().mean() for feature in features.values())
        results.append([*features.values(), *torch.autograd.grad(total, parameters)])
    for actual, expected in zip(*results, strict=True):
        torch.testing.assert_close(
            actual, expected, rtol=0, atol=1e-9 * max(1, expected.abs().max().item())
        )


@pytest.mark.parametrize("stride_in_1x1", [False, True])
@pytest.mark.parametrize("dilation", [1, 2])
def test_starts_as_the_hosts_ordinary_resnet(stride_in_1x1, dilation):
    keys = {**SMALL, "STRIDE_IN_1X1": stride_in_1x1, "RES5_DILATION": dilation}
    torch.manual_seed(0)
    resnet = build_resnet(make_config(**keys, **{**DCN, "DEFORM_MODULATED": False}), IMAGES).eval()
    ordinary = build_resnet_backbone(make_config(**keys), IMAGES).eval()
    weights = {key: value for key, value in resnet.state_dict().items() if "offset" not in key}
    ordinary.load_state_dict(weights)
    images = torch.randn(1, 3, 64, 96)
    assert resnet.output_shape() == ordinary.output_shape()
    expected = ordinary(images)
    for name, feature in resnet(images).items():
        torch.testing.assert_close(feature, expected[name], rtol=1e-3, atol=1e-3)


def test_only_the_stages_asked_for_are_deformable():
    resnet = build_resnet(make_config(**SMALL, **DCN, DEFORM_NUM_GROUPS=2), IMAGES)
    blocks = deformable_blocks(resnet)
    assert len(blocks) == 4 + 6 + 3
    assert not any(name.startswith("res2") for name in blocks)
    assert {block.conv2_offset.out_channels for block in blocks.values()} == {54}


@pytest.mark.parametrize("modulated", [False, True])
def test_keys_and_shapes_are_those_of_genuine_detectron2(modulated, genuine):
    cfg = make_config(**{**SMALL, **DCN, "DEFORM_MODULATED": modulated})
    ours = build_resnet(cfg, IMAGES).state_dict()
    theirs = genuine.build_resnet_backbone(cfg, IMAGES).state_dict()
    assert [(k, v.shape) for k, v in ours.items()] == [(k, v.shape) for k, v in theirs.items()]


def test_every_parameter_is_trained_and_the_frozen_ones_are_not():
    torch.manual_seed(0)
    cfg = make_config(**SMALL, **DCN, NORM="BN")
    cfg.MODEL.BACKBONE.FREEZE_AT = 3
    resnet = build_resnet(cfg, IMAGES)
    for block in deformable_blocks(resnet).values():
        torch.nn.init.normal_(block.conv2_offset.weight, std=0.1)
    features = resnet(torch.randn(2, 3, 64, 96))
    sum(feature.square().mean() for feature in features.values()).backward()
    for name, parameter in resnet.named_parameters():
        frozen = name.startswith(("stem", "res2", "res3"))
        assert parameter.requires_grad != frozen, name
        assert frozen or parameter.grad.any(), name


def test_dyhead_backbones_stand_on_it():
    cfg = make_config(**SMALL, **DCN)
    cfg.MODEL.BACKBONE.NAME = "build_retinanet_resnet_fpn_dyhead_backbone"
    cfg.MODEL.FPN.IN_FEATURES = STAGES[1:]
    cfg.MODEL.FPN.OUT_CHANNELS = 16
    cfg.MODEL.DYHEAD.NUM_CONVS = 0
    backbone = build_backbone(cfg)
    assert deformable_blocks(backbone.fpn.bottom_up)
    levels = backbone(torch.randn(1, 3, 128, 128))
    assert list(levels) == ["p3", "p4", "p5", "p6", "p7"]


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"DEPTH": 18}, "DEPTH 18 has no deformable stages: set it to one of 50, 101, 152"),
        ({"RES5_DILATION": 3}, "RES5_DILATION 3 must be 1 or 2"),
        ({"DEFORM_NUM_GROUPS": 3}, r"DEFORM_NUM_GROUPS 3 must divide .* = 8"),
        ({"DEFORM_ON_PER_STAGE": [True]}, r"DEFORM_ON_PER_STAGE \[True\] must say"),
    ],
)
def test_what_cannot_be_built_is_refused_in_one_sentence(keys, message):
    with pytest.raises(ValueError, match=message):
        build_resnet(make_config(**{**SMALL, **DCN, **keys}), IMAGES)
