"""RepPoints as a whole: from a config, its losses in plain loops, its detections, its learning."""

import math

import plain_double
import pytest
import torch
from torch import nn

from dyhead.d2.modeling import build_model
from dyhead.modeling.backbone import DyHead
from dyhead.modeling.meta_arch import RepPoints
from dyhead.modeling.meta_arch.assignment import IGNORED
from dyhead.modeling.meta_arch.reppoints_assignment import (
    assign_by_location,
    assign_by_overlap,
)

LOSSES = ["loss_cls", "loss_pts_init", "loss_pts_refine"]


@pytest.fixture
def cfg(cfg):
    """A narrow RepPoints without towers, for pooled pixels."""
    cfg.MODEL.META_ARCHITECTURE = "RepPoints"
    section = cfg.MODEL.REPPOINTS
    section.NUM_CLASSES, section.NUM_CONVS, section.CHANNELS, section.POINT_CHANNELS = 3, 0, 32, 16
    section.IOU_THRESHOLDS = [0.2, 0.5]  # between them there are proposals to ignore
    return cfg


def build(cfg, lively=True):
    torch.manual_seed(3)
    model = build_model(cfg)
    if lively:
        for parameter in model.head.parameters():
            nn.init.normal_(parameter, std=0.3)
    return model


def test_every_key_reaches_the_model(cfg):
    section = cfg.MODEL.REPPOINTS
    section.POINT_BASE_SCALE, section.TOPK, section.IOU_THRESHOLDS = 8.0, 2, [0.3, 0.6]
    section.FOCAL_LOSS_ALPHA, section.FOCAL_LOSS_GAMMA, section.SMOOTH_L1_BETA = 0.3, 1.5, 0.2
    section.INIT_LOSS_WEIGHT, section.REFINE_LOSS_WEIGHT = 0.7, 0.8
    section.INFERENCE_TH, section.PRE_NMS_TOP_N, section.NMS_TH = 0.1, 50, 0.7
    section.CLIP_BEFORE_NMS, section.PRIOR_PROB, section.PREDICTOR_INIT_STD = False, 0.5, 0.0
    section.NUM_CONVS, section.USE_GN, section.CHANNELS = 2, False, 24
    section.NUM_POINTS, section.GRADIENT_MUL, section.MOMENT_MUL = 25, 0.2, 0.05
    section.BBOX_REG_LOSS_TYPE = "giou"
    model = build(cfg, lively=False)
    assert isinstance(model, RepPoints)
    assert (model.base_scale, model.topk) == (8.0, 2)
    assert (model.background_below, model.positive_from) == (0.3, 0.6)
    assert (model.focal_loss_alpha, model.focal_loss_gamma) == (0.3, 1.5)
    assert (model.smooth_l1_beta, model.box_reg_loss_type) == (0.2, "giou")
    assert (model.init_loss_weight, model.refine_loss_weight) == (0.7, 0.8)
    assert (model.test_score_thresh, model.test_topk_candidates) == (0.1, 50)
    assert (model.test_nms_thresh, model.clip_before_nms) == (0.7, False)
    head = model.head
    assert [type(layer) for layer in head.cls_tower] == [nn.Conv2d, nn.ReLU] * 2
    assert head.cls_conv.weight.shape == head.refine_conv.weight.shape == (16, 24, 5, 5)
    assert head.init_points.weight.shape == head.refine_points.weight.shape == (50, 16, 1, 1)
    assert (head.gradient_mul, head.pseudo_box.moment_mul) == (0.2, 0.05)
    assert head.cls_logits.weight.shape == (3, 16, 1, 1)
    assert not head.cls_logits.bias.any()
    assert not head.init_points.weight.any()
    section.TRANSFORM = "minmax"
    assert build(cfg).head.pseudo_box.transform == "minmax"


@pytest.mark.parametrize("thresholds", [[0.5], [0.5, 0.4], [0.0, 0.5], [0.5, 1.5]])
def test_thresholds_out_of_order_are_refused(cfg, thresholds):
    cfg.MODEL.REPPOINTS.IOU_THRESHOLDS = thresholds
    with pytest.raises(ValueError, match="IOU_THRESHOLDS is .* such as"):
        build_model(cfg)


def test_objects_without_a_location_are_refused(cfg):
    cfg.MODEL.REPPOINTS.TOPK = 0
    with pytest.raises(ValueError, match="TOPK is 0: .* 1 candidate or more"):
        build_model(cfg)


def test_an_unknown_box_loss_is_refused(cfg):
    cfg.MODEL.REPPOINTS.BBOX_REG_LOSS_TYPE = "l2"
    with pytest.raises(
        ValueError, match="REPPOINTS.BBOX_REG_LOSS_TYPE is 'l2': use one of smooth_l1, gi"
    ):
        build_model(cfg)


def focal(logit, is_positive, alpha=0.25, gamma=2.0):
    score = 1 / (1 + math.exp(-logit))
    if is_positive:
        return -alpha * (1 - score) ** gamma * math.log(score)
    return -(1 - alpha) * score**gamma * math.log(1 - score)


def smooth_l1(difference, beta=0.11):
    difference = abs(difference)
    return difference**2 / (2 * beta) if difference < beta else difference - beta / 2


def corners(offsets, anchor):
    """The box at `offsets` from the middle of a location, in pixels."""
    x, y = (anchor[0] + anchor[2]) / 2, (anchor[1] + anchor[3]) / 2
    side = anchor[2] - anchor[0]
    middle = (x, y, x, y)
    return [m + offset * side for m, offset in zip(middle, offsets, strict=True)]


def naive_losses(model, batch, on_boxes=None):
    """The three losses in plain loops over images, locations, classes and sides."""
    images = model.preprocess_image(batch)
    features = list(model.backbone(images.tensor).values())
    anchors = [boxes.tensor for boxes in model.anchor_generator(features)]
    flat = torch.cat(anchors).tolist()
    maps = [
        torch.cat([level.flatten(2) for level in levels], dim=2).transpose(1, 2).tolist()
        for levels in model.head(features)
    ]
    totals, counts, num_ignored = [0.0, 0.0, 0.0], [0, 0], 0
    for n, x in enumerate(batch):
        objects = x["instances"].gt_boxes.tensor
        classes = x["instances"].gt_classes.tolist()
        logits, initial, refined = (predicted[n] for predicted in maps)
        initial, refined = (
            [corners(*pair) for pair in zip(level, flat, strict=True)]
            for level in (initial, refined)
        )
        first = assign_by_location(anchors, objects, base_scale=4, topk=1).tolist()
        second = assign_by_overlap(
            torch.tensor(initial), objects, background_below=0.2, positive_from=0.5
        ).tolist()
        num_ignored += second.count(IGNORED)
        for t, anchor in enumerate(flat):
            unit = 4 * (anchor[2] - anchor[0])
            for k, logit in enumerate(logits[t] if second[t] != IGNORED else []):
                totals[0] += focal(logit, second[t] >= 0 and classes[second[t]] == k)
            for stage, (matched, boxes) in enumerate(((first, initial), (second, refined))):
                if matched[t] >= 0:
                    counts[stage] += 1
                    target = objects[matched[t]].tolist()
                    if on_boxes:
                        totals[1 + stage] += on_boxes(boxes[t], target)
                        continue
                    for a, b in zip(boxes[t], target, strict=True):
                        totals[1 + stage] += smooth_l1((a - b) / unit)
    first_count, second_count = (max(count, 1) for count in counts)
    assert min(counts) > 1 and num_ignored
    return [
        totals[0] / second_count,
        0.5 * totals[1] / first_count,
        1.0 * totals[2] / second_count,
    ]


@pytest.mark.parametrize("transform", ["moment", "minmax"])
def test_losses_equal_plain_loops(cfg, batch, transform):
    cfg.MODEL.REPPOINTS.TRANSFORM = transform
    model = build(cfg)
    losses = model(batch)
    assert list(losses) == LOSSES
    with torch.no_grad():
        expected = naive_losses(model, batch)
    assert [value.item() for value in losses.values()] == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("kind", plain_double.BOX_LOSSES)
def test_every_box_loss_equals_plain_loops(cfg, batch, kind):
    cfg.MODEL.REPPOINTS.BBOX_REG_LOSS_TYPE = kind
    model = build(cfg)
    losses = model(batch)
    with torch.no_grad():
        expected = naive_losses(model, batch, plain_double.BOX_LOSSES[kind])
    assert [value.item() for value in losses.values()] == pytest.approx(expected, rel=1e-4)
    assert all(dict(check_gradients(model, batch)).values())


def test_ignored_locations_give_no_class_gradient(cfg, make_input):
    model = build(cfg)
    image = make_input(1, (64, 64), [[4.0, 4, 60, 60]], [1])
    model.background_below, model.positive_from = 1e-9, 1.0  # whatever overlaps is ignored
    images = model.preprocess_image([image])
    features = list(model.backbone(images.tensor).values())
    anchors = [boxes.tensor for boxes in model.anchor_generator(features)]
    predictions = model.arrange(model.head(features))
    for level in predictions.class_logits:
        level.retain_grad()
    model.losses(anchors, predictions, [image["instances"]])["loss_cls"].backward()
    proposals = model.boxes(predictions.initial_deltas, torch.cat(anchors))[0]
    matched = assign_by_overlap(
        proposals, image["instances"].gt_boxes.tensor, background_below=1e-9, positive_from=1.0
    )
    gradient = torch.cat([level.grad[0] for level in predictions.class_logits])
    assert (matched == IGNORED).any()
    assert torch.equal((gradient == 0).all(dim=1), matched == IGNORED)


def check_gradients(model, batch):
    losses = model(batch)
    assert all(value.isfinite() for value in losses.values())
    sum(losses.values()).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        yield name, parameter.grad.abs().max().item()


@pytest.mark.parametrize("num_convs", [0, 1])
@pytest.mark.parametrize("transform", ["moment", "minmax", "partial_minmax"])
def test_gradients_reach_every_parameter(cfg, batch, transform, num_convs):
    cfg.MODEL.REPPOINTS.TRANSFORM, cfg.MODEL.REPPOINTS.NUM_CONVS = transform, num_convs
    gradients = dict(check_gradients(build(cfg), batch))
    assert all(gradients.values()), gradients


def test_without_objects_losses_are_finite_and_connected(cfg, make_input):
    model = build(cfg)
    batch = [make_input(1), make_input(2)]
    losses = model(batch)
    assert losses["loss_cls"] > 0
    assert losses["loss_pts_init"] == losses["loss_pts_refine"] == 0
    for value in losses.values():
        value.backward(retain_graph=True)
    model.zero_grad()
    gradients = dict(check_gradients(model, batch))
    assert gradients["head.cls_logits.weight"] > 0
    assert gradients["head.refine_points.weight"] == 0


def test_detections_are_the_refined_boxes(cfg, make_input):
    model = build(cfg).double().eval()
    for predictor in (model.head.init_points, model.head.cls_logits):
        nn.init.normal_(predictor.weight, std=0.02)  # points within the image, scores below 1
    model.test_nms_thresh, model.clip_before_nms = 1.0, False
    model.max_detections_per_image = 1000
    image = make_input(4, (128, 128))
    with torch.no_grad():
        images = model.preprocess_image([image])
        features = list(model.backbone(images.tensor.double()).values())
        anchors = [boxes.tensor for boxes in model.anchor_generator(features)]
        logits, _, refined = model.head(features)
        found = model.forward_inference(images, features, model.head(features))[0]
    expected = []
    for level, scores, boxes in zip(anchors, logits, refined, strict=True):
        scores, boxes = scores[0].sigmoid().flatten(1), boxes[0].flatten(1)
        for t, anchor in enumerate(level.tolist()):
            box = corners(boxes[:, t].tolist(), anchor)
            expected += [(scores[k, t].item(), k, *box) for k in range(3) if scores[k, t] > 0.05]
    expected = torch.tensor(sorted(expected, reverse=True)[:1000])
    assert len(found) == len(expected) > 10
    torch.testing.assert_close(found.scores, expected[:, 0])
    torch.testing.assert_close(found.pred_boxes.tensor, expected[:, 2:], atol=1e-3, rtol=1e-4)


class Pyramid(nn.Module):
    """Stands under DyHead as an FPN does."""

    size_divisibility, padding_constraints = 128, {}

    def __init__(self, pooled):
        super().__init__()
        self.pooled = pooled

    def forward(self, images):
        return self.pooled(images)

    def output_shape(self):
        return self.pooled.output_shape()


@pytest.mark.parametrize("num_blocks", [0, 1])
def test_it_stands_on_dyhead(cfg, make_input, num_blocks):
    from dyhead.d2.modeling import BACKBONE_REGISTRY

    pooled = BACKBONE_REGISTRY.get("build_pooled_pixels_backbone")

    def build_pixels_dyhead_backbone(cfg, input_shape):
        return DyHead(Pyramid(pooled(cfg, input_shape)), channels=32, num_blocks=num_blocks)

    name = f"build_pixels_dyhead_backbone_{num_blocks}"
    build_pixels_dyhead_backbone.__name__ = name
    if name not in BACKBONE_REGISTRY:
        BACKBONE_REGISTRY.register(build_pixels_dyhead_backbone)
    cfg.MODEL.BACKBONE.NAME = name
    cfg.MODEL.REPPOINTS.USE_GN = False
    model = build(cfg)
    towers = [m for m in model.head.points_tower if isinstance(m, nn.Conv2d)]
    assert len(towers) == (0 if num_blocks else 4)
    batch = [make_input(1, (128, 128), [[8.0, 8, 70, 90]], [1]), make_input(2, (100, 128))]
    assert len(dict(check_gradients(model, batch))) > 10
    with torch.no_grad():
        outputs = model.eval()(batch)
    assert len(outputs) == 2


def test_it_learns_one_image(cfg, make_input):
    cfg.MODEL.REPPOINTS.NUM_CONVS, cfg.MODEL.REPPOINTS.CHANNELS = 1, 64
    cfg.MODEL.REPPOINTS.PREDICTOR_INIT_STD = 0.1
    model = build(cfg, lively=False)
    box = [36.0, 42, 84, 82]
    image = make_input(1, (128, 128), [box], [2])
    image["image"] = torch.full((3, 128, 128), 20, dtype=torch.uint8)
    image["image"][:, 42:82, 36:84] = torch.tensor([250, 120, 30], dtype=torch.uint8)[:, None, None]
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    history = []
    for _ in range(70):
        losses = model([image])
        optimizer.zero_grad()
        sum(losses.values()).backward()
        optimizer.step()
        history.append({name: value.item() for name, value in losses.items()})
    assert sum(history[-1].values()) < 0.3 * sum(history[0].values())
    with torch.no_grad():
        best = model.eval()([image])[0]["instances"][:1]
    assert best.pred_classes.tolist() == [2]
    assert best.scores.item() > 0.5
    assert (best.pred_boxes.tensor[0] - torch.tensor(box)).abs().max() < 6, best
