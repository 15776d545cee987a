"""RetinaNet against loops over anchors."""

import plain_double as double
import pytest
import torch
from same_detections import assert_same_detections
from torch import nn
from torch.nn import functional as F

from dyhead.d2.config import get_cfg
from dyhead.d2.layers import ShapeSpec
from dyhead.d2.modeling import BACKBONE_REGISTRY, Backbone, build_model
from dyhead.d2.modeling.anchor_generator import DefaultAnchorGenerator
from dyhead.d2.modeling.box_regression import Box2BoxTransform
from dyhead.d2.modeling.matcher import Matcher
from dyhead.d2.modeling.meta_arch.retinanet import RetinaNet, RetinaNetHead
from dyhead.d2.structures import Boxes, Instances
from dyhead.d2.utils.events import EventStorage

STRIDES = (8, 16, 32)
RATIOS = (0.5, 1.0)
NUM_CLASSES = 3
CHANNELS = 8
WEIGHTS = (2.0, 2.0, 1.0, 1.0)


class PooledPixels(Backbone):
    """Every level is the average-pooled image through a 1x1 convolution."""

    def __init__(self, channels=CHANNELS):
        super().__init__()
        self.channels = channels
        self.convs = nn.ModuleList(nn.Conv2d(3, channels, 1) for _ in STRIDES)

    def forward(self, images):
        levels = zip(STRIDES, self.convs, strict=True)
        return {f"s{s}": conv(F.avg_pool2d(images, s)) for s, conv in levels}

    @property
    def size_divisibility(self):
        return max(STRIDES)

    def output_shape(self):
        return {f"s{s}": ShapeSpec(channels=self.channels, stride=s) for s in STRIDES}


def build_three_pooled_levels(cfg, input_shape):
    return PooledPixels()


if "build_three_pooled_levels" not in BACKBONE_REGISTRY:
    BACKBONE_REGISTRY.register(build_three_pooled_levels)


def build(num_classes=NUM_CLASSES, norm="", channels=CHANNELS, **arguments):
    torch.manual_seed(0)
    backbone = PooledPixels(channels)
    head = RetinaNetHead(
        input_shape=list(backbone.output_shape().values()),
        num_classes=num_classes,
        num_anchors=len(RATIOS),
        conv_dims=[channels] * 2,
        norm=norm,
    )
    for convolution in [m for m in head.modules() if isinstance(m, nn.Conv2d)]:
        nn.init.normal_(convolution.weight, std=0.15)  # lively, but no score is nearly 1
        nn.init.normal_(convolution.bias, std=0.15)
    return RetinaNet(
        backbone=backbone,
        head=head,
        head_in_features=[f"s{s}" for s in STRIDES],
        anchor_generator=DefaultAnchorGenerator(
            sizes=[[3.0 * s] for s in STRIDES], aspect_ratios=[list(RATIOS)], strides=list(STRIDES)
        ),
        box2box_transform=Box2BoxTransform(weights=WEIGHTS),
        anchor_matcher=Matcher([0.4, 0.5], [0, -1, 1], allow_low_quality_matches=True),
        num_classes=num_classes,
        pixel_mean=[100.0, 110.0, 120.0],
        pixel_std=[60.0, 61.0, 62.0],
        **arguments,
    )


def image(seed, size=(64, 96), boxes=(), classes=()):
    instances = Instances(size)
    instances.gt_boxes = Boxes(torch.tensor(list(boxes), dtype=torch.float32).reshape(-1, 4))
    instances.gt_classes = torch.tensor(list(classes), dtype=torch.int64)
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.randint(0, 256, (3, *size), generator=generator, dtype=torch.uint8)
    return {"image": pixels, "instances": instances}


@pytest.fixture
def batch():
    """An image with three objects, one with nothing, and one with one, of different sizes."""
    boxes = [[3.2, 4.1, 30.7, 24.9], [20.3, 10.6, 95.1, 63.2], [5.4, 30.5, 30.2, 61.7]]
    return [
        image(1, (64, 96), boxes, [0, 2, 1]),
        image(2, (60, 70)),
        image(3, (64, 64), [[8.3, 9.1, 55.2, 47.8]], [1]),
    ]


def raw_predictions(model, batch):
    """Anchors, logits and deltas per level; the last two per image; all as nested lists."""
    features = list(model.backbone(model.preprocess_image(batch).tensor).values())
    anchors = [level.tensor.tolist() for level in model.anchor_generator(features)]
    return anchors, *([in_anchor_order(level) for level in kind] for kind in model.head(features))


def in_anchor_order(level):
    """(N, R, values) of a map (N, A * values, H, W)."""
    n, _, height, width = level.shape
    level = level.reshape(n, len(RATIOS), -1, height, width)
    return level.permute(0, 3, 4, 1, 2).reshape(n, height * width * len(RATIOS), -1).tolist()


def naive_match(anchors, boxes):
    """For every anchor its best object and whether it is positive (1), negative (0) or neither."""
    if not boxes:
        return [(0, 0)] * len(anchors)
    overlaps = [[double.iou(anchor, box) for box in boxes] for anchor in anchors]
    of_objects = [max(column) for column in zip(*overlaps, strict=True)]
    matched = []
    for row in overlaps:
        kind = 1 if max(row) >= 0.5 else 0 if max(row) < 0.4 else -1
        if any(value == best for value, best in zip(row, of_objects, strict=True)):
            kind = 1
        matched.append((row.index(max(row)), kind))
    return matched


def naive_losses(model, batch, box_losses=None, beta=0.0):
    """Sums of the losses of a batch, and the number of its positive anchors."""
    anchors, logits, deltas = raw_predictions(model, batch)
    anchors = sum(anchors, [])
    cls, box_loss, count, ignored = 0.0, 0.0, 0, 0
    for i, x in enumerate(batch):
        boxes = x["instances"].gt_boxes.tensor.tolist()
        classes = x["instances"].gt_classes.tolist()
        image_logits, image_deltas = (sum((lv[i] for lv in k), []) for k in (logits, deltas))
        for t, (m, kind) in enumerate(naive_match(anchors, boxes)):
            if kind == -1:
                ignored += 1
                continue
            label = classes[m] if kind == 1 else None
            cls += sum(double.focal_loss(v, k == label) for k, v in enumerate(image_logits[t]))
            if kind == 1:
                count += 1
                box_loss += naive_box_loss(image_deltas[t], anchors[t], boxes[m], box_losses, beta)
    assert ignored > 0
    return cls, box_loss, count


def naive_box_loss(deltas, anchor, box, on_boxes, beta):
    if on_boxes:
        return on_boxes(double.decode(deltas, anchor, WEIGHTS), box)
    return double.smooth_l1_loss(deltas, double.encode(anchor, box, WEIGHTS), beta)


def train_step(model, batch):
    with EventStorage() as storage:
        losses = model(batch)
    return losses, storage.latest()["num_pos_anchors"][0]


@pytest.mark.parametrize(
    ("options", "box_losses"),
    [
        ({}, None),
        ({"smooth_l1_beta": 0.1}, None),
        ({"box_reg_loss_type": "giou"}, double.giou_loss),
        ({"box_reg_loss_type": "diou"}, double.diou_loss),
        ({"box_reg_loss_type": "ciou"}, double.ciou_loss),
    ],
)
def test_losses_equal_the_naive_double(batch, options, box_losses):
    model = build(**options)
    cls, box_loss, count = naive_losses(
        model, batch, box_losses, options.get("smooth_l1_beta", 0.0)
    )
    assert count > 3
    normalizer = 100.0
    for step in (batch, batch):  # the divisor is a moving average
        normalizer = 0.9 * normalizer + 0.1 * count
        losses, positives_per_image = train_step(model, step)
        assert list(losses) == ["loss_cls", "loss_box_reg"]
        assert losses["loss_cls"].item() == pytest.approx(cls / normalizer, rel=1e-5)
        assert losses["loss_box_reg"].item() == pytest.approx(box_loss / normalizer, rel=1e-5)
        assert positives_per_image == pytest.approx(count / len(batch))
    assert "loss_normalizer" not in model.state_dict()


def test_a_batch_without_any_object_trains_the_classes_only():
    model = build()
    losses, positives = train_step(model, [image(1), image(2, (40, 50))])
    sum(losses.values()).backward()
    assert losses["loss_box_reg"].item() == positives == 0
    assert model.loss_normalizer == pytest.approx(0.9 * 100 + 0.1)
    assert not model.head.bbox_pred.weight.grad.any()
    assert model.head.cls_score.weight.grad.any()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), name


def test_every_parameter_gets_a_gradient(batch):
    model = build(channels=32, norm="GN")
    losses, _ = train_step(model, batch)
    sum(losses.values()).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), name
        assert parameter.grad.any(), name


def test_labels_are_classes_background_and_ignored(batch):
    model = build()
    features = list(model.backbone(model.preprocess_image(batch).tensor).values())
    anchors = model.anchor_generator(features)
    labels, boxes = model.label_anchors(anchors, [x["instances"] for x in batch])
    flat = sum((level.tensor.tolist() for level in anchors), [])
    for x, found, matched in zip(batch, labels, boxes, strict=True):
        truth = x["instances"]
        for t, (m, kind) in enumerate(naive_match(flat, truth.gt_boxes.tensor.tolist())):
            expected = {0: NUM_CLASSES, -1: -1}.get(kind)
            assert found[t] == (truth.gt_classes[m] if expected is None else expected)
            if kind == 1:
                assert torch.equal(matched[t], truth.gt_boxes.tensor[m])
    assert (labels[1] == NUM_CLASSES).all() and boxes[1].shape == (len(flat), 4)


def naive_detections(model, batch, threshold, topk, nms, limit):
    anchors, logits, deltas = raw_predictions(model, batch)
    results = []
    for i, x in enumerate(batch):
        found = []
        for level_anchors, level_logits, level_deltas in zip(anchors, logits, deltas, strict=True):
            level = [
                (double.sigmoid(v), k, double.decode(delta, anchor, WEIGHTS))
                for anchor, row, delta in zip(
                    level_anchors, level_logits[i], level_deltas[i], strict=True
                )
                for k, v in enumerate(row)
                if double.sigmoid(v) > threshold
            ]
            found += sorted(level, reverse=True)[:topk]
        kept = double.suppress(found, nms)[:limit]
        size = tuple(x["image"].shape[1:])
        results.append(
            double.resize(kept, size, (x.get("height", size[0]), x.get("width", size[1])))
        )
    return results


@pytest.mark.parametrize(("topk", "limit"), [(1000, 100), (12, 100), (1000, 7)])
def test_detections_equal_the_naive_double_in_their_order(topk, limit):
    settings = {"test_score_thresh": 0.4, "test_nms_thresh": 0.5}
    model = build(test_topk_candidates=topk, max_detections_per_image=limit, **settings).eval()
    batch = [image(1), image(2) | {"height": 160, "width": 192}]
    with torch.no_grad():
        outputs = model(batch)
        expected = naive_detections(model, batch, 0.4, topk, 0.5, limit)
    assert_same_detections(outputs, expected)
    assert outputs[1]["instances"].image_size == (160, 192)


def test_images_of_different_sizes_keep_their_own_size(batch):
    with torch.no_grad():
        outputs = build().eval()(batch)
    for x, output in zip(batch, outputs, strict=True):
        found = output["instances"]
        height, width = found.image_size
        assert (height, width) == tuple(x["image"].shape[1:])
        assert len(found) > 0 and found.scores.diff().le(0).all()
        limits = torch.tensor([width, height, width, height])
        assert (found.pred_boxes.tensor >= 0).all() and (found.pred_boxes.tensor <= limits).all()


def test_nothing_above_the_threshold_gives_empty_instances():
    with torch.no_grad():
        (output,) = build(test_score_thresh=1.0).eval()([image(1)])
    assert len(output["instances"]) == 0
    assert output["instances"].pred_boxes.tensor.shape == (0, 4)


@pytest.fixture
def cfg():
    cfg = get_cfg()
    cfg.MODEL.META_ARCHITECTURE = "RetinaNet"
    cfg.MODEL.DEVICE = "cpu"
    cfg.MODEL.BACKBONE.NAME = "build_three_pooled_levels"
    cfg.MODEL.RETINANET.IN_FEATURES = ["s8", "s16", "s32"]
    cfg.MODEL.ANCHOR_GENERATOR.SIZES = [[24.0], [48.0], [96.0]]
    return cfg


def test_every_key_reaches_the_model(cfg):
    retinanet = cfg.MODEL.RETINANET
    retinanet.update({"NUM_CLASSES": 7, "NUM_CONVS": 3, "PRIOR_PROB": 0.5})
    retinanet.update({"IOU_THRESHOLDS": [0.3, 0.6], "IOU_LABELS": [-1, 0, 1]})
    retinanet.update({"SCORE_THRESH_TEST": 0.1, "TOPK_CANDIDATES_TEST": 50, "NMS_THRESH_TEST": 0.7})
    retinanet.update({"FOCAL_LOSS_ALPHA": 0.3, "FOCAL_LOSS_GAMMA": 1.5, "SMOOTH_L1_LOSS_BETA": 0.2})
    retinanet.update({"BBOX_REG_WEIGHTS": (1.0, 2.0, 3.0, 4.0), "BBOX_REG_LOSS_TYPE": "giou"})
    cfg.MODEL.PIXEL_MEAN, cfg.MODEL.PIXEL_STD = [1.0, 2.0, 3.0], [4.0, 5.0, 6.0]
    cfg.INPUT.FORMAT, cfg.TEST.DETECTIONS_PER_IMAGE = "RGB", 9
    model = build_model(cfg)
    assert isinstance(model, RetinaNet)
    assert model.num_classes == 7 and list(model.head_in_features) == ["s8", "s16", "s32"]
    assert model.head.cls_score.weight.shape == (3 * 7, CHANNELS, 3, 3)
    assert [type(layer) for layer in model.head.bbox_subnet] == [nn.Conv2d, nn.ReLU] * 3
    assert not model.head.cls_score.bias.any()
    assert model.anchor_matcher.thresholds[1:-1] == [0.3, 0.6]
    assert list(model.anchor_matcher.labels) == [-1, 0, 1]
    assert model.anchor_matcher.allow_low_quality_matches
    assert (model.focal_loss_alpha, model.focal_loss_gamma) == (0.3, 1.5)
    assert (model.smooth_l1_beta, model.box_reg_loss_type) == (0.2, "giou")
    assert (model.test_score_thresh, model.test_topk_candidates) == (0.1, 50)
    assert (model.test_nms_thresh, model.max_detections_per_image) == (0.7, 9)
    assert tuple(model.box2box_transform.weights) == (1.0, 2.0, 3.0, 4.0)
    assert model.pixel_mean.flatten().tolist() == [1, 2, 3]
    assert model.pixel_std.flatten().tolist() == [4, 5, 6]
    assert model.input_format == "RGB"


def test_names_of_weights(cfg):
    cfg.MODEL.RETINANET.NUM_CONVS = 2
    names = [name for name in build_model(cfg).state_dict() if name.startswith("head")]
    assert names == [
        f"head.{part}.{kind}"
        for part in (
            *("cls_subnet.0", "cls_subnet.2", "bbox_subnet.0", "bbox_subnet.2"),
            *("cls_score", "bbox_pred"),
        )
        for kind in ("weight", "bias")
    ]


def test_every_anchor_starts_at_the_prior_score(cfg):
    cfg.MODEL.RETINANET.PRIOR_PROB = 0.03
    logits, deltas = build_model(cfg).head([torch.randn(1, CHANNELS, 9, 9)] * 3)
    assert logits[0].sigmoid().mean().item() == pytest.approx(0.03, rel=0.05)
    assert deltas[0].abs().max() < 0.1


def test_levels_with_different_numbers_of_anchors_are_refused(cfg):
    cfg.MODEL.ANCHOR_GENERATOR.SIZES = [[24.0, 30.0], [48.0], [96.0]]
    with pytest.raises((AssertionError, ValueError), match="anchors"):
        build_model(cfg)
