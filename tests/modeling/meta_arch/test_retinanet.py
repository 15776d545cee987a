"""DyHeadRetinaNet against the host's RetinaNet, and its head, which needs no towers."""

import pytest
import torch
from torch import nn

from dyhead.d2.config import CfgNode
from dyhead.d2.layers import ShapeSpec
from dyhead.d2.modeling import BACKBONE_REGISTRY, Backbone, build_model
from dyhead.d2.utils.events import EventStorage
from dyhead.errors import UserError
from dyhead.modeling.backbone import DyHead
from dyhead.modeling.meta_arch import DyHeadRetinaNet
from dyhead.modeling.meta_arch.towers import tower_depth


@pytest.fixture
def cfg(cfg):
    """RetinaNet with its own three sizes and ratios of anchors, for PooledPixels."""
    cfg.MODEL.META_ARCHITECTURE = "DyHeadRetinaNet"
    cfg.MODEL.PIXEL_STD = [60.0, 60.0, 60.0]
    cfg.MODEL.ANCHOR_GENERATOR.SIZES = [[s, 1.3 * s, 1.6 * s] for s in (16, 32, 64, 128, 256)]
    cfg.MODEL.ANCHOR_GENERATOR.ASPECT_RATIOS = [[0.5, 1.0, 2.0]]
    cfg.MODEL.RETINANET.NUM_CLASSES = 3
    return cfg


def build(cfg, architecture="DyHeadRetinaNet"):
    cfg.MODEL.META_ARCHITECTURE = architecture
    torch.manual_seed(0)
    return build_model(cfg)


def excite(model):
    """Lively predictions in the place of the cautious initial ones."""
    for parameter in model.head.parameters():
        nn.init.normal_(parameter, std=0.1)
    return model


def train_step(model, batch):
    with EventStorage():
        losses = model(batch)
    sum(losses.values()).backward()
    return losses


@pytest.mark.parametrize("norm", ["", "GN"])
@pytest.mark.parametrize(
    ("num_convs", "kind"),
    [(1, "smooth_l1"), (4, "smooth_l1"), (1, "giou"), (1, "diou"), (1, "ciou")],
)
def test_with_towers_it_is_the_hosts_retinanet(cfg, batch, num_convs, norm, kind):
    cfg.MODEL.BACKBONE.NAME = "build_wide_pooled_pixels_backbone"
    cfg.MODEL.RETINANET.NUM_CONVS, cfg.MODEL.RETINANET.NORM = num_convs, norm
    cfg.MODEL.RETINANET.SCORE_THRESH_TEST = 0.3
    cfg.MODEL.RETINANET.BBOX_REG_LOSS_TYPE = kind
    host, ours = excite(build(cfg, "RetinaNet")), build(cfg)
    assert list(ours.state_dict()) == list(host.state_dict())
    ours.load_state_dict(host.state_dict(), strict=True)
    losses, expected = train_step(ours, batch), train_step(host, batch)
    assert losses.keys() == expected.keys()
    for name, value in losses.items():
        torch.testing.assert_close(value, expected[name])
    with torch.no_grad():
        outputs, references = ours.eval()(batch), host.eval()(batch)
    for output, reference in zip(outputs, references, strict=True):
        found, theirs = output["instances"], reference["instances"]
        assert len(found) == len(theirs) > 5
        torch.testing.assert_close(found.scores, theirs.scores)
        torch.testing.assert_close(found.pred_boxes.tensor, theirs.pred_boxes.tensor)
        assert torch.equal(found.pred_classes, theirs.pred_classes)


class Widened(Backbone):
    """PooledPixels with each channel four times over, since GroupNorm needs 32 of them."""

    def __init__(self, pooled):
        super().__init__()
        self.pooled = pooled

    def forward(self, images):
        return {name: x.repeat(1, 4, 1, 1) for name, x in self.pooled(images).items()}

    @property
    def size_divisibility(self):
        return self.pooled.size_divisibility

    def output_shape(self):
        shapes = self.pooled.output_shape()
        return {n: ShapeSpec(channels=4 * s.channels, stride=s.stride) for n, s in shapes.items()}


def build_wide_pooled_pixels_backbone(cfg, input_shape):
    return Widened(BACKBONE_REGISTRY.get("build_pooled_pixels_backbone")(cfg, input_shape))


if "build_wide_pooled_pixels_backbone" not in BACKBONE_REGISTRY:
    BACKBONE_REGISTRY.register(build_wide_pooled_pixels_backbone)


def test_it_starts_as_the_hosts_retinanet_does(cfg):
    cfg.MODEL.RETINANET.PRIOR_PROB = 0.03
    ours, host = build(cfg), build(cfg, "RetinaNet")
    for (name, value), other in zip(
        ours.head.named_parameters(), host.head.parameters(), strict=True
    ):
        if name.endswith("bias"):
            assert torch.equal(value, other), name
        else:
            assert value.std().item() == pytest.approx(0.01, rel=0.2), name


def test_without_towers_the_predictors_sit_on_the_features(cfg, batch):
    cfg.MODEL.RETINANET.NUM_CONVS = 0
    model = build(cfg)
    assert isinstance(model, DyHeadRetinaNet)
    assert set(dict(model.head.named_parameters())) == {
        f"{predictor}.{kind}"
        for predictor in ("cls_score", "bbox_pred")
        for kind in ("weight", "bias")
    }
    losses = train_step(excite(model), batch)
    assert list(losses) == ["loss_cls", "loss_box_reg"]
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), name
    with torch.no_grad():
        outputs = model.eval()(batch)
    assert len(outputs) == len(batch) and all(len(x["instances"]) > 0 for x in outputs)


def test_images_without_objects_train(cfg, make_input):
    cfg.MODEL.RETINANET.NUM_CONVS = 0
    losses = train_step(build(cfg), [make_input(1), make_input(2, (50, 40))])
    assert losses["loss_box_reg"].item() == 0 and losses["loss_cls"].item() > 0


class TinyPyramid(Backbone):
    """Shapes alone: what DyHead asks of a pyramid when it is built."""

    @property
    def size_divisibility(self):
        return 32

    def forward(self, images):
        raise AssertionError("only its shapes are looked at")

    def output_shape(self):
        return {f"p{i}": ShapeSpec(channels=16, stride=2**i) for i in (3, 4, 5)}


@pytest.mark.parametrize(
    ("num_blocks", "num_convs", "expected"), [(0, 0, 4), (1, 0, 0), (1, 2, 2), (0, 3, 3)]
)
def test_a_dyhead_backbone_without_blocks_gets_towers(num_blocks, num_convs, expected):
    backbone = DyHead(TinyPyramid(), channels=16, num_blocks=num_blocks)
    assert tower_depth(num_convs, backbone) == expected


def test_another_backbone_gets_what_it_asks_for():
    assert tower_depth(0, TinyPyramid()) == 0
    assert tower_depth(4, TinyPyramid()) == 4


CHANGES = {  # key: another value than the default, and what the model has to have then
    "NUM_CLASSES": (7, lambda m: m.num_classes == 7 and m.head.cls_score.out_channels == 63),
    "IN_FEATURES": (["p3", "p4"], lambda m: list(m.head_in_features) == ["p3", "p4"]),
    "NUM_CONVS": (2, lambda m: [len(m.head.cls_subnet), len(m.head.bbox_subnet)] == [4, 4]),
    "NORM": ("GN", lambda m: any(isinstance(x, nn.GroupNorm) for x in m.head.modules())),
    "IOU_THRESHOLDS": ([0.2, 0.6], lambda m: m.anchor_matcher.thresholds[1:-1] == [0.2, 0.6]),
    "IOU_LABELS": ([-1, 0, 1], lambda m: list(m.anchor_matcher.labels) == [-1, 0, 1]),
    "PRIOR_PROB": (0.5, lambda m: not m.head.cls_score.bias.any()),
    "SCORE_THRESH_TEST": (0.1, lambda m: m.test_score_thresh == 0.1),
    "TOPK_CANDIDATES_TEST": (50, lambda m: m.test_topk_candidates == 50),
    "NMS_THRESH_TEST": (0.7, lambda m: m.test_nms_thresh == 0.7),
    "BBOX_REG_WEIGHTS": (
        (1.0, 2.0, 3.0, 4.0),
        lambda m: tuple(m.box2box_transform.weights) == (1.0, 2.0, 3.0, 4.0),
    ),
    "FOCAL_LOSS_GAMMA": (1.5, lambda m: m.focal_loss_gamma == 1.5),
    "FOCAL_LOSS_ALPHA": (0.3, lambda m: m.focal_loss_alpha == 0.3),
    "SMOOTH_L1_LOSS_BETA": (0.2, lambda m: m.smooth_l1_beta == 0.2),
    "BBOX_REG_LOSS_TYPE": ("giou", lambda m: m.box_reg_loss_type == "giou"),
    "PREDICTOR_KERNEL_SIZE": (1, lambda m: m.head.bbox_pred.kernel_size == (1, 1)),
    "PREDICTOR_INIT_STD": (0.2, lambda m: m.head.bbox_pred.weight.std() > 0.15),
}


def test_no_key_is_forgotten_here(cfg):
    assert CHANGES.keys() == {*cfg.MODEL.RETINANET, *cfg.MODEL.DYHEAD_RETINANET}


@pytest.mark.parametrize("key", CHANGES)
def test_every_key_reaches_the_model(cfg, key):
    cfg.MODEL.BACKBONE.NAME = "build_wide_pooled_pixels_backbone"
    value, has_changed = CHANGES[key]
    assert not has_changed(build(cfg))
    section = "RETINANET" if key in cfg.MODEL.RETINANET else "DYHEAD_RETINANET"
    if key == "IN_FEATURES":
        cfg.MODEL.ANCHOR_GENERATOR.SIZES = [[16, 20, 25], [32, 40, 50]]
    cfg.merge_from_other_cfg(CfgNode({"MODEL": {section: {key: value}}}))
    assert has_changed(build(cfg))


def test_the_config_is_left_alone(cfg):
    cfg.MODEL.RETINANET.NORM = "GN"
    cfg.MODEL.RETINANET.NUM_CONVS = 0
    cfg.freeze()
    before = cfg.dump()
    build_model(cfg)
    assert cfg.dump() == before


def test_norms_other_than_group_norm_are_refused(cfg):
    cfg.MODEL.RETINANET.NORM = "BN"
    with pytest.raises(UserError, match="MODEL.RETINANET.NORM is 'BN'.*'GN'"):
        build(cfg)


def test_group_norm_needs_channels_that_fall_into_groups(cfg):
    cfg.MODEL.RETINANET.NORM = "GN"
    with pytest.raises(UserError, match="CHANNELS=8 .*32.*NORM ''"):
        build(cfg)


def test_an_unknown_feature_is_refused_by_name(cfg):
    cfg.MODEL.RETINANET.IN_FEATURES = ["p2", "p3"]
    with pytest.raises(UserError, match="IN_FEATURES names p2.*p3, p4"):
        build(cfg)


def test_an_unknown_backbone_is_not_taken_for_an_unknown_feature(cfg):
    cfg.MODEL.BACKBONE.NAME = "build_nothing"
    with pytest.raises(KeyError, match="build_nothing"):
        build(cfg)


def test_unused_features_are_logged(cfg, caplog):
    cfg.MODEL.RETINANET.IN_FEATURES = ["p3", "p4", "p5"]
    cfg.MODEL.ANCHOR_GENERATOR.SIZES = [[16], [32], [64]]
    build(cfg)
    assert "p6, p7" in caplog.text
