"""Backbones of timm: convolutional, channels-last, hierarchical and plain transformers."""

import logging
from pathlib import Path

import pytest
import timm
import torch

from dyhead.config import add_dyhead_config
from dyhead.d2.config import get_cfg
from dyhead.d2.layers import ShapeSpec
from dyhead.d2.modeling import build_backbone
from dyhead.errors import UserError
from dyhead.modeling.backbone import TimmBackbone
from dyhead.safe_io.addresses import local_path

SWIN = "swin_tiny_patch4_window7_224"
# All but the plain transformer: features at strides 8, 16 and 32 have these channels.
MODELS = {
    "convnext_atto": (80, 160, 320),
    "efficientnet_lite0": (40, 112, 320),
    "mobilenetv3_small_050": (16, 24, 288),
    "mambaout_femto": (96, 192, 288),  # channels last, and timm's own table is wrong
    "hrnet_w18_small": (256, 512, 1024),
    SWIN: (192, 384, 768),  # channels last, made for 224 x 224
}


def make_config(**keys):
    cfg = get_cfg()
    add_dyhead_config(cfg)
    cfg.MODEL.BACKBONE.NAME = "build_timm_fpn_dyhead_backbone"
    cfg.MODEL.FPN.OUT_CHANNELS = 16
    cfg.MODEL.DYHEAD.NUM_CONVS = 0
    for key, value in {"NAME": "test_convnext", **keys}.items():
        cfg.MODEL.TIMM[key] = value
    return cfg


def features_and_gradients(backbone, images):
    backbone.zero_grad()
    features = backbone(images)
    sum(feature.square().mean() for feature in features.values()).backward()
    return features, {n: p.grad.clone() for n, p in backbone.named_parameters() if p.requires_grad}


@pytest.mark.parametrize("name", MODELS)
def test_outputs_are_what_output_shape_says_at_any_size(name):
    backbone = TimmBackbone(name).eval()
    strides = (8, 16, 32)
    assert backbone.output_shape() == {
        f"stride{stride}": ShapeSpec(channels=channels, stride=stride)
        for stride, channels in zip(strides, MODELS[name], strict=True)
    }
    for height, width in ((64, 160), (224, 32)):
        features = backbone(torch.randn(1, 3, height, width))
        assert [feature.shape for feature in features.values()] == [
            (1, channels, height // stride, width // stride)
            for stride, channels in zip(strides, MODELS[name], strict=True)
        ]


def test_features_are_timms():
    torch.manual_seed(0)
    backbone = TimmBackbone("mambaout_femto").eval()
    images = torch.randn(1, 3, 64, 96)
    plain = timm.create_model("mambaout_femto", features_only=True).eval()
    plain.load_state_dict(backbone.model.state_dict())
    for feature, expected in zip(backbone(images).values(), plain(images)[1:], strict=True):
        torch.testing.assert_close(feature, expected.permute(0, 3, 1, 2).contiguous())


@pytest.mark.parametrize(
    ("name", "out_features"),
    [
        ("test_resnet", ["stride8", "stride16", "stride32"]),
        ("test_resnet", ["stride4", "stride8"]),
        ("test_efficientnet", ["stride8"]),  # timm leaves the rest of the model in place
        ("test_vit", ["stride16"]),
    ],
)
def test_every_parameter_that_is_trained_has_a_gradient(name, out_features):
    backbone = TimmBackbone(name, out_features, drop_path=0.0)
    features, gradients = features_and_gradients(backbone, torch.randn(2, 3, 64, 96))
    assert list(features) == out_features
    assert gradients
    assert all(gradient.isfinite().all() for gradient in gradients.values())


@pytest.mark.parametrize(
    ("keys", "levels"),
    [
        ({}, {"p3": 8, "p4": 16, "p5": 32, "p6": 64, "p7": 128}),
        (
            {
                "OUT_FEATURES": ["stride4", "stride8", "stride16", "stride32"],
                "TOP_LEVELS": "maxpool",
            },
            {"p2": 4, "p3": 8, "p4": 16, "p5": 32, "p6": 64},
        ),
        ({"OUT_FEATURES": ["stride8", "stride16"]}, {"p3": 8, "p4": 16, "p5": 32, "p6": 64}),
        ({"OUT_FEATURES": ["stride4", "stride8"], "TOP_LEVELS": ""}, {"p2": 4, "p3": 8}),
        (
            {"OUT_FEATURES": ["stride8", "stride16"], "TOP_LEVELS": "maxpool"},
            {"p3": 8, "p4": 16, "p5": 32},
        ),
        ({"NAME": "test_vit", "OUT_FEATURES": ["stride16"]}, {"p4": 16, "p5": 32, "p6": 64}),
    ],
)
def test_the_pyramid_has_the_levels_asked_for(keys, levels):
    cfg = make_config(**keys)
    cfg.MODEL.DYHEAD.NUM_CONVS = 1
    cfg.MODEL.DYHEAD.CHANNELS = 32
    backbone = build_backbone(cfg)
    outputs = backbone(torch.randn(1, 3, 128, 256))
    assert {name: shape.stride for name, shape in backbone.output_shape().items()} == levels
    assert {name: output.shape for name, output in outputs.items()} == {
        name: (1, 32, 128 // stride, 256 // stride) for name, stride in levels.items()
    }


@pytest.mark.parametrize("name", ["test_convnext", "test_efficientnet", "mambaout_femto"])
def test_checkpointing_changes_neither_features_nor_gradients(name):
    results = []
    for grad_checkpointing in (False, True):
        torch.manual_seed(0)
        backbone = TimmBackbone(name, drop_path=0.3, grad_checkpointing=grad_checkpointing)
        torch.manual_seed(1)
        results.append(features_and_gradients(backbone, torch.randn(2, 3, 64, 64)))
    (features, gradients), (others, other_gradients) = results
    for one, other in ((features, others), (gradients, other_gradients)):
        assert one.keys() == other.keys()
        for key in one:
            torch.testing.assert_close(one[key], other[key], msg=key)


@pytest.mark.parametrize("freeze_at", [-1, 0])
def test_nothing_is_frozen_by_default(freeze_at):
    backbone = TimmBackbone("test_resnet", freeze_at=freeze_at)
    assert all(parameter.requires_grad for parameter in backbone.parameters())
    assert all(module.training for module in backbone.train().modules())


@pytest.mark.parametrize(
    ("name", "freeze_at", "frozen"),
    [
        ("test_resnet", 1, ("conv1", "bn1")),
        ("test_resnet", 2, ("conv1", "bn1", "layer1")),
        ("test_convnext", 1, ("stem_0", "stem_1", "stages_0")),
        ("test_efficientnet", 2, ("conv_stem", "bn1", "blocks.0", "blocks.1")),
    ],
)
def test_freezing_counts_timms_features(name, freeze_at, frozen):
    backbone = TimmBackbone(name, freeze_at=freeze_at)
    prefixes = tuple(f"model.{part}." for part in frozen)
    for parameter_name, parameter in backbone.named_parameters():
        assert parameter.requires_grad != parameter_name.startswith(prefixes), parameter_name
    before = {key: value.clone() for key, value in backbone.state_dict().items()}
    backbone.train()(torch.randn(2, 3, 64, 64))
    after = backbone.state_dict()
    assert all(after[k].equal(v) for k, v in before.items() if k.startswith(prefixes))


def test_frozen_batch_norms_keep_their_activations_and_values():
    torch.manual_seed(0)
    backbone = TimmBackbone("test_efficientnet")
    images = torch.randn(2, 3, 64, 64)
    backbone.train()(images)  # so that the statistics are not the first ones
    frozen = TimmBackbone("test_efficientnet", norm="FrozenBN")
    frozen.load_state_dict(backbone.state_dict(), strict=False)
    expected = backbone.eval()(images)
    for name, feature in frozen.train()(images).items():
        torch.testing.assert_close(feature, expected[name], rtol=1e-4, atol=1e-4)
    assert not any("bn" in name for name, _ in frozen.named_parameters())


def test_drop_path_acts_in_training_only():
    backbone = TimmBackbone("test_convnext", drop_path=0.9)
    images = torch.randn(4, 3, 64, 64)
    once, again = (backbone.train()(images)["stride32"] for _ in range(2))
    assert not once.equal(again)
    once, again = (backbone.eval()(images)["stride32"] for _ in range(2))
    assert once.equal(again)


def test_images_may_have_other_channels():
    backbone = TimmBackbone("test_convnext", in_channels=1)
    assert backbone(torch.randn(1, 1, 64, 64))["stride8"].shape == (1, 32, 8, 8)


@pytest.fixture
def weights(monkeypatch):
    """In the place of timm's download: every parameter 0.5, or the error given."""
    create = timm.create_model

    def give(error=None):
        def create_model(name, pretrained=False, **options):
            if pretrained and error:
                raise error
            model = create(name, **options)
            for parameter in model.parameters() if pretrained else ():
                torch.nn.init.constant_(parameter, 0.5)
            return model

        monkeypatch.setattr(timm, "create_model", create_model)

    return give


@pytest.mark.parametrize("out_features", [["stride8"], ["stride8", "stride16", "stride32"]])
def test_weights_of_timm_are_loaded(weights, out_features, caplog):
    weights()
    cfg = make_config(PRETRAINED=True, OUT_FEATURES=out_features)
    with caplog.at_level(logging.WARNING, logger="dyhead"):
        backbone = build_backbone(cfg).fpn.bottom_up
    assert all((parameter == 0.5).all() for parameter in backbone.parameters())
    assert "INPUT.FORMAT RGB" in caplog.text
    caplog.clear()
    cfg.INPUT.FORMAT = "RGB"
    cfg.MODEL.PIXEL_MEAN = [127.5, 127.5, 127.5]
    cfg.MODEL.PIXEL_STD = [127.5, 127.5, 127.5]
    build_backbone(cfg)
    assert not caplog.text


@pytest.mark.parametrize(
    "error", [OSError("no route to host\nand more"), RuntimeError("no such tag")]
)
def test_weights_that_cannot_be_had_are_one_sentence_with_the_place_for_them(
    weights, error, monkeypatch, tmp_path
):
    weights(error)
    monkeypatch.setenv("FVCORE_CACHE", str(tmp_path))
    message = r"PRETRAINED: .* test_convnext .*\(no [a-z ]+\): fetch https://"
    with pytest.raises(UserError, match=message) as error:
        build_backbone(make_config(PRETRAINED=True))
    named = (word.strip(",") for word in str(error.value).split())
    (place,) = (Path(word) for word in named if word.startswith(str(tmp_path)))
    place.parent.mkdir(parents=True)
    place.write_bytes(b"weights")
    assert Path(local_path("timm://test_convnext")).read_bytes() == b"weights"  # not fetched


def test_weights_that_timm_does_not_have_are_answered_by_near_names():
    with pytest.raises(UserError, match=r"PRETRAINED: timm://efficientnet_lite1 .* did you mean"):
        build_backbone(make_config(PRETRAINED=True, NAME="efficientnet_lite1"))


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"NAME": "convnext_tinny"}, 'no model "convnext_tinny", did you mean convnext_tiny or'),
        ({"NAME": ""}, 'no model "", did you mean'),
        ({"NAME": "test_vit"}, r"OUT_FEATURES .* must be some of what test_vit gives: stride16"),
        ({"NAME": "hiera_tiny_224"}, "hiera_tiny_224 does not take images of any size"),
        ({"OUT_FEATURES": []}, "OUT_FEATURES .* must be some of"),
        ({"OUT_FEATURES": ["stride8", "stride32"]}, r"strides \[8, 32\]: choose features"),
        ({"NAME": "vgg11", "DROP_PATH": 0.1}, "DROP_PATH 0.1: vgg11 has no drop path"),
        ({"NAME": "hrnet_w18_small", "GRAD_CHECKPOINTING": True}, "cannot recompute its blocks"),
        ({"NORM": "BN"}, 'NORM "BN" must be "" or "FrozenBN"'),
        ({"TOP_LEVELS": "p6"}, 'TOP_LEVELS "p6" must be "p6p7", "maxpool" or ""'),
    ],
)
def test_what_cannot_be_built_is_refused_in_one_sentence(keys, message):
    with pytest.raises(ValueError, match=message):
        build_backbone(make_config(**keys))


def test_too_many_frozen_features_are_refused():
    cfg = make_config()
    cfg.MODEL.BACKBONE.FREEZE_AT = 5
    with pytest.raises(ValueError, match="FREEZE_AT 5: test_convnext has 4 features up to"):
        build_backbone(cfg)
