"""FCOS from a config: losses against a plain Python double, and what every key does."""

import math

import plain_double as double
import pytest
import torch
from torch import nn

from dyhead.d2.config import CfgNode
from dyhead.d2.modeling import build_model
from dyhead.d2.structures import Boxes, Instances
from dyhead.errors import UserError
from dyhead.modeling.meta_arch import FCOS
from dyhead.modeling.meta_arch.assignment import BACKGROUND
from dyhead.modeling.meta_arch.fcos_assignment import assign_locations


@pytest.fixture
def cfg(cfg):
    """FCOS with small towers for PooledPixels; limits that fit small images."""
    cfg.MODEL.META_ARCHITECTURE = "FCOS"
    cfg.MODEL.FCOS.NUM_CLASSES = 3
    cfg.MODEL.FCOS.NUM_CONVS = 1
    cfg.MODEL.FCOS.CHANNELS = 32
    cfg.MODEL.FCOS.IN_FEATURES = ["p3", "p4", "p5"]
    cfg.MODEL.FCOS.LEVEL_LIMITS = [32, 64]
    return cfg


def build(cfg, std=0.3):
    torch.manual_seed(0)
    model = build_model(cfg)
    for module in model.head.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.normal_(module.weight, std=std)
            nn.init.normal_(module.bias, std=std)
    for scale in model.head.scales:
        nn.init.uniform_(scale.scale, 0.5, 1.5)
    return model


def raw_predictions(model, batch):
    """Cells per level, and per image the head's numbers location by location."""
    pyramid = model.backbone(model.preprocess_image(batch).tensor)
    features = [pyramid[name] for name in model.head_in_features]
    levels = [boxes.tensor for boxes in model.anchor_generator(features)]
    outputs = [
        torch.cat([level.flatten(2).transpose(1, 2) for level in kind], dim=1)
        for kind in model.head(features)
    ]
    return levels, [output.tolist() for output in outputs]


def decode(numbers, cell, normalize):
    (x, y), stride = double.center(cell), cell[2] - cell[0]
    distances = [max(n, 0) * stride if normalize else math.exp(n) for n in numbers]
    return x - distances[0], y - distances[1], x + distances[2], y + distances[3]


def naive_losses(model, batch, kind, normalize, weight=1.0):
    levels, (logits, numbers, quality) = raw_predictions(model, batch)
    cells = torch.cat(levels).tolist()
    cls = ctr = box_loss = weights = 0.0
    count = 0
    for i, x in enumerate(batch):
        truth = x["instances"]
        matched = assign_locations(
            levels,
            truth.gt_boxes.tensor,
            level_limits=model.level_limits,
            center_sampling_radius=model.center_sampling_radius,
        ).tolist()
        for t, m in enumerate(matched):
            label = None if m == BACKGROUND else truth.gt_classes[m].item()
            cls += sum(double.focal_loss(v, k == label) for k, v in enumerate(logits[i][t]))
            if m == BACKGROUND:
                continue
            box = truth.gt_boxes.tensor[m].tolist()
            target = double.centerness(double.center(cells[t]), box)
            p = double.sigmoid(quality[i][t][0])
            ctr -= target * math.log(p) + (1 - target) * math.log(1 - p)
            predicted = decode(numbers[i][t], cells[t], normalize)
            loss = double.BOX_LOSSES[kind](predicted, box)
            count, weights, box_loss = count + 1, weights + target, box_loss + target * loss
    count = max(count, 1)
    return {
        "loss_cls": cls / count,
        "loss_ctr": ctr / count,
        "loss_box_reg": weight * box_loss / (weights or 1),
    }


def as_numbers(losses):
    return {name: value.item() for name, value in losses.items()}


@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("kind", double.BOX_LOSSES)
def test_losses_equal_the_naive_double(cfg, batch, kind, normalize):
    cfg.MODEL.FCOS.BBOX_REG_LOSS_TYPE = kind
    cfg.MODEL.FCOS.NORMALIZE_DISTANCES = normalize
    model = build(cfg, std=0.3 if normalize else 0.1)  # exponentials grow fast
    expected = naive_losses(model, batch, kind, normalize)
    assert expected["loss_box_reg"] > 0
    losses = model(batch)
    assert as_numbers(losses) == pytest.approx(expected, rel=1e-4)
    sum(losses.values()).backward()
    for name, parameter in model.head.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), name
        assert parameter.grad.any() or name.startswith("scales."), name


def test_loss_options_equal_the_naive_double(cfg, batch):
    cfg.MODEL.FCOS.REG_LOSS_WEIGHT = 3.0
    cfg.MODEL.FCOS.CENTER_SAMPLING_RADIUS = 0.0
    cfg.MODEL.FCOS.LEVEL_LIMITS = [20, 40]
    model = build(cfg)
    expected = naive_losses(model, batch, "giou", True, weight=3.0)
    assert as_numbers(model(batch)) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("kind", double.BOX_LOSSES)
def test_a_batch_without_any_object_trains_the_classes_only(cfg, make_input, kind):
    cfg.MODEL.FCOS.BBOX_REG_LOSS_TYPE = kind
    model = build(cfg)
    losses = model([make_input(1), make_input(2, (50, 40))])
    assert losses["loss_box_reg"].item() == losses["loss_ctr"].item() == 0.0
    sum(losses.values()).backward()
    for name, parameter in model.head.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), name
    assert not model.head.bbox_pred.weight.grad.any()
    assert model.head.cls_logits.weight.grad.any()


def test_predictions_without_width_keep_the_losses_finite(cfg, batch):
    for kind in double.BOX_LOSSES:
        cfg.MODEL.FCOS.BBOX_REG_LOSS_TYPE = kind
        model = build(cfg)
        nn.init.zeros_(model.head.bbox_pred.weight)
        nn.init.constant_(model.head.bbox_pred.bias, -1.0)  # rectified to no distance at all
        losses = model(batch)
        sum(losses.values()).backward()
        assert all(value.isfinite() for value in losses.values())
        for name, parameter in model.named_parameters():
            assert parameter.grad is None or parameter.grad.isfinite().all(), name


def test_boxes_start_with_an_area_everywhere(cfg, batch):
    torch.manual_seed(0)
    _, (_, numbers, _) = raw_predictions(build_model(cfg), batch)
    distances = torch.tensor(numbers)
    assert distances.min() > 0 and abs(distances.mean() - 1) < 0.1, "about one stride"


def test_exponentials_of_distances_start_at_a_pixel(cfg, batch):
    cfg.MODEL.FCOS.NORMALIZE_DISTANCES = False
    torch.manual_seed(0)
    _, (_, numbers, _) = raw_predictions(build_model(cfg), batch)
    assert abs(torch.tensor(numbers).mean()) < 0.1


@pytest.mark.parametrize("seed", range(3))
def test_boxes_of_small_objects_do_not_shrink_to_nothing(cfg, seed):
    """Steps that shorten boxes that stick out leave them an area, and so a gradient."""
    cfg.MODEL.FCOS.NUM_CONVS, cfg.MODEL.FCOS.CHANNELS = 4, 64
    cfg.MODEL.FCOS.PREDICTOR_INIT_STD = 0.1
    torch.manual_seed(seed)
    model = build_model(cfg)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    corners = 24.0 * torch.cartesian_prod(torch.arange(5), torch.arange(5)) + 2
    instances = Instances((128, 128))
    instances.gt_boxes = Boxes(torch.cat([corners, corners + 20], dim=1))
    instances.gt_classes = torch.zeros(25, dtype=torch.int64)
    image = torch.randint(0, 256, (3, 128, 128), dtype=torch.uint8)
    for _ in range(30):
        losses = model([{"image": image, "instances": instances}])
        optimizer.zero_grad()
        sum(losses.values()).backward()
        optimizer.step()
    assert losses["loss_box_reg"] < 0.7


def naive_detections(model, x, threshold, nms):
    levels, (logits, numbers, quality) = raw_predictions(model, [x])
    found = [
        (double.sigmoid(v) * double.sigmoid(quality[0][t][0]), k, decode(numbers[0][t], cell, True))
        for t, cell in enumerate(torch.cat(levels).tolist())
        for k, v in enumerate(logits[0][t])
        if double.sigmoid(v) > threshold
    ]
    size = tuple(x["image"].shape[1:])
    return double.resize(double.suppress(found, nms), size, (x["height"], x["width"]))


def test_detections_equal_the_naive_double(cfg, make_input):
    cfg.MODEL.FCOS.INFERENCE_TH, cfg.MODEL.FCOS.NMS_TH = 0.4, 0.5
    cfg.TEST.DETECTIONS_PER_IMAGE = 1000
    model = build(cfg, std=0.1).eval()
    x = make_input(4, (64, 96)) | {"height": 160, "width": 192}
    with torch.no_grad():
        found, expected = model([x])[0]["instances"], naive_detections(model, x, 0.4, 0.5)
    scores, classes, boxes = zip(*expected, strict=True)
    assert len(found) == len(expected) > 5 and found.image_size == (160, 192)
    torch.testing.assert_close(found.scores, torch.tensor(scores))
    assert found.pred_classes.tolist() == list(classes)
    torch.testing.assert_close(found.pred_boxes.tensor, torch.tensor(boxes), rtol=1e-5, atol=1e-3)


def test_images_of_different_sizes_keep_their_own_size(cfg, batch):
    with torch.no_grad():
        outputs = build(cfg).eval()(batch)
    for x, output in zip(batch, outputs, strict=True):
        height, width = output["instances"].image_size
        assert (height, width) == tuple(x["image"].shape[1:])
        boxes = output["instances"].pred_boxes.tensor
        assert len(boxes) > 0 and (boxes >= 0).all()
        assert (boxes <= torch.tensor([width, height, width, height])).all()


@pytest.mark.parametrize("on_box_tower", [True, False])
def test_centerness_stands_on_the_tower_asked_for(cfg, batch, on_box_tower):
    cfg.MODEL.FCOS.CENTERNESS_ON_BOX_TOWER = on_box_tower
    model = build(cfg)
    model(batch)["loss_ctr"].backward()
    learned = {
        name
        for name in ("cls_tower", "bbox_tower")
        if getattr(model.head, name)[0].weight.grad is not None
    }
    assert learned == {"bbox_tower" if on_box_tower else "cls_tower"}


CHANGES = {  # key: another value than the default, and what the model has to have then
    "NUM_CLASSES": (7, lambda m: m.num_classes == 7 and m.head.cls_logits.out_channels == 7),
    "IN_FEATURES": (["p4", "p5", "p6"], lambda m: m.head_in_features == ["p4", "p5", "p6"]),
    "NUM_CONVS": (2, lambda m: count_convolutions(m) == [2, 2]),
    "CHANNELS": (64, lambda m: m.head.bbox_pred.in_channels == 64),
    "USE_GN": (False, lambda m: not any(isinstance(x, nn.GroupNorm) for x in m.head.modules())),
    "PREDICTOR_KERNEL_SIZE": (1, lambda m: m.head.centerness.kernel_size == (1, 1)),
    "PRIOR_PROB": (0.5, lambda m: not m.head.cls_logits.bias.any()),
    "PREDICTOR_INIT_STD": (0.2, lambda m: m.head.bbox_pred.weight.std() > 0.15),
    "CENTER_SAMPLING_RADIUS": (0.5, lambda m: m.center_sampling_radius == 0.5),
    "LEVEL_LIMITS": ([10, 20], lambda m: m.level_limits == [10.0, 20.0]),
    "NORMALIZE_DISTANCES": (False, lambda m: not m.box2box_transform.normalize),
    "CENTERNESS_ON_BOX_TOWER": (False, lambda m: not m.head.quality_on_box_tower),
    "FOCAL_LOSS_GAMMA": (1.5, lambda m: m.focal_loss_gamma == 1.5),
    "FOCAL_LOSS_ALPHA": (0.3, lambda m: m.focal_loss_alpha == 0.3),
    "BBOX_REG_LOSS_TYPE": ("iou", lambda m: m.box_reg_loss_type == "iou"),
    "REG_LOSS_WEIGHT": (2.5, lambda m: m.box_reg_loss_weight == 2.5),
    "INFERENCE_TH": (0.1, lambda m: m.test_score_thresh == 0.1),
    "PRE_NMS_TOP_N": (50, lambda m: m.test_topk_candidates == 50),
    "RANK_BY_CENTERNESS": (False, lambda m: not m.rank_by_quality),
    "CLIP_BEFORE_NMS": (True, lambda m: m.clip_before_nms),
    "NMS_TH": (0.7, lambda m: m.test_nms_thresh == 0.7),
}


def count_convolutions(model):
    towers = (model.head.cls_tower, model.head.bbox_tower)
    return [sum(isinstance(layer, nn.Conv2d) for layer in tower) for tower in towers]


def test_no_key_is_forgotten_here(cfg):
    assert CHANGES.keys() == cfg.MODEL.FCOS.keys()


@pytest.mark.parametrize("key", CHANGES)
def test_every_key_reaches_the_model(cfg, key):
    value, has_changed = CHANGES[key]
    assert not has_changed(build_model(cfg))
    cfg.merge_from_other_cfg(CfgNode({"MODEL": {"FCOS": {key: value}}}))
    model = build_model(cfg)
    assert isinstance(model, FCOS)
    assert has_changed(model)


def test_keys_of_all_detectors_reach_the_model(cfg):
    cfg.MODEL.PIXEL_MEAN, cfg.MODEL.PIXEL_STD = [1.0, 2.0, 3.0], [4.0, 5.0, 6.0]
    cfg.INPUT.FORMAT, cfg.TEST.DETECTIONS_PER_IMAGE = "RGB", 9
    model = build_model(cfg)
    assert model.pixel_mean.flatten().tolist() == [1, 2, 3]
    assert model.pixel_std.flatten().tolist() == [4, 5, 6]
    assert (model.input_format, model.max_detections_per_image) == ("RGB", 9)


@pytest.mark.parametrize("limits", [[64], [64, 32], [8, 16, 32], [8, "b"]])
def test_limits_that_do_not_part_the_levels_are_refused(cfg, limits):
    cfg.MODEL.FCOS.LEVEL_LIMITS = limits
    with pytest.raises(UserError, match="LEVEL_LIMITS.*2 ascending.*3 levels"):
        build_model(cfg)


def test_unknown_losses_and_features_are_refused_by_name(cfg):
    cfg.MODEL.FCOS.BBOX_REG_LOSS_TYPE = "smooth_l1"
    with pytest.raises(UserError, match="FCOS.BBOX_REG_LOSS_TYPE is 'smooth_l1'.*giou, diou, ciou"):
        build_model(cfg)
    cfg.MODEL.FCOS.IN_FEATURES = ["p2", "p3", "p4"]
    with pytest.raises(UserError, match="p2.*p3, p4, p5, p6, p7"):
        build_model(cfg)


@pytest.mark.parametrize("original", [False, True])
def test_one_image_is_learned_by_heart(cfg, make_input, original):
    if original:  # as in the paper's first version
        fcos = {"CENTER_SAMPLING_RADIUS": 0.0, "BBOX_REG_LOSS_TYPE": "iou"}
        fcos |= {"NORMALIZE_DISTANCES": False, "CENTERNESS_ON_BOX_TOWER": False}
        cfg.merge_from_other_cfg(CfgNode({"MODEL": {"FCOS": fcos}}))
    torch.manual_seed(0)
    model = build_model(cfg)
    boxes = [[4.0, 6.0, 50.0, 60.0], [52.0, 8.0, 92.0, 40.0]]
    x = make_input(1, (64, 96), boxes, [2, 0])
    for box, brightness in zip(boxes, (250, 0), strict=True):
        x1, y1, x2, y2 = map(int, box)
        x["image"][:, y1:y2, x1:x2] = brightness
    optimizer = torch.optim.Adam(model.parameters(), 0.01)
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, [200])  # steady at the end
    for _ in range(250):
        optimizer.zero_grad()
        sum(model([x]).values()).backward()
        optimizer.step()
        schedule.step()
    with torch.no_grad():
        found = model.eval()([x])[0]["instances"]
    best = {k: found[found.pred_classes == k][0] for k in (0, 2)}
    assert double.iou(best[2].pred_boxes.tensor[0].tolist(), boxes[0]) > 0.75
    assert double.iou(best[0].pred_boxes.tensor[0].tolist(), boxes[1]) > 0.8
    assert min(best[k].scores.item() for k in (0, 2)) > 0.3
