"""The losses against a float64 double in plain Python, and what a batch may look like."""

import math

import plain_double
import pytest
import torch

from dyhead.modeling.meta_arch.assignment import BACKGROUND, find_positives
from dyhead.modeling.meta_arch.atss_assignment import assign_anchors
from dyhead.modeling.meta_arch.dense_losses import BOX_LOSSES, centerness_targets, normalizers

WEIGHTS = (10, 10, 5, 5)  # of the deltas


def raw_predictions(detector, batch):
    """Anchors, and per image the head's outputs anchor by anchor, as nested lists."""
    images = detector.preprocess_image(batch)
    features = list(detector.backbone(images.tensor).values())
    anchors = [boxes.tensor for boxes in detector.anchor_generator(features)]
    maps = detector.head(features)
    num_anchors = maps[2][0].shape[1]

    def in_anchor_order(level):  # location by location, anchor by anchor
        n, _, height, width = level.shape
        level = level.reshape(n, num_anchors, -1, height, width)
        return level.permute(0, 3, 4, 1, 2).reshape(n, height * width * num_anchors, -1)

    outputs = [torch.cat([in_anchor_order(level) for level in kind], dim=1) for kind in maps]
    return anchors, [output.tolist() for output in outputs]


def naive_losses(detector, batch, topk=9, kind="giou"):
    anchors, (logits, deltas, quality) = raw_predictions(detector, batch)
    flat = torch.cat(anchors).tolist()
    positives, cls = [], 0.0
    for i, x in enumerate(batch):
        truth = x["instances"]
        matched = assign_anchors(anchors, truth.gt_boxes.tensor, topk).tolist()
        for t, m in enumerate(matched):
            label = None if m == BACKGROUND else truth.gt_classes[m].item()
            cls += sum(plain_double.focal_loss(v, k == label) for k, v in enumerate(logits[i][t]))
            if m != BACKGROUND:
                positives.append((i, t, truth.gt_boxes.tensor[m].tolist()))
    weights = [
        plain_double.centerness(plain_double.center(flat[t]), box) for _, t, box in positives
    ]
    ctr = box_loss = 0.0
    for (i, t, box), weight in zip(positives, weights, strict=True):
        p = plain_double.sigmoid(quality[i][t][0])
        ctr -= weight * math.log(p) + (1 - weight) * math.log(1 - p)
        predicted = plain_double.decode(deltas[i][t], flat[t], WEIGHTS)
        box_loss += weight * plain_double.BOX_LOSSES[kind](predicted, box)
    count = max(len(positives), 1)
    return {
        "loss_cls": cls / count,
        "loss_ctr": ctr / count,
        "loss_box_reg": 2 * box_loss / (sum(weights) or 1),
    }


def as_numbers(losses):
    return {name: value.item() for name, value in losses.items()}


@pytest.mark.parametrize("ratios", [(1.0,), (0.5, 2.0)])
@pytest.mark.parametrize("seed", [0, 1])
def test_losses_equal_the_naive_double(make_detector, batch, seed, ratios):
    detector = make_detector(seed, aspect_ratios=ratios)
    expected = naive_losses(detector, batch, topk=9 * len(ratios))
    assert as_numbers(detector(batch)) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("kind", plain_double.BOX_LOSSES)
def test_every_box_loss_equals_the_naive_double(make_detector, batch, kind):
    detector = make_detector(1, box_reg_loss_type=kind)
    expected = naive_losses(detector, batch, kind=kind)
    assert as_numbers(detector(batch)) == pytest.approx(expected, rel=1e-5)


def test_boxes_apart_have_a_finite_loss_of_their_iou_and_no_gradient():
    predicted = torch.tensor([[0.0, 0, 8, 8], [0, 0, 8, 8]], requires_grad=True)
    losses = BOX_LOSSES["iou"](predicted, torch.tensor([[20.0, 20, 30, 30], [0, 0, 8, 4]]))
    assert losses.tolist() == pytest.approx([-math.log(1e-6), math.log(2)])
    losses.sum().backward()
    assert not predicted.grad[0].any() and predicted.grad[1].any()


def test_loss_options_equal_the_naive_double(make_detector, batch):
    detector = make_detector(box_reg_loss_weight=6.0, anchor_topk=4)
    expected = naive_losses(detector, batch, topk=4)
    expected["loss_box_reg"] *= 3
    assert as_numbers(detector(batch)) == pytest.approx(expected, rel=1e-5)


def test_every_parameter_gets_a_finite_gradient(make_detector, batch):
    detector = make_detector(head={"num_convs": 2, "channels": 32})
    sum(detector(batch).values()).backward()
    for name, parameter in detector.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), name
        # A level without positives has nothing to learn about its scale.
        assert parameter.grad.any() or ".scales." in name, name


def test_a_batch_without_any_object_trains_the_classes_only(make_detector, make_input):
    detector = make_detector()
    batch = [make_input(1, (64, 96)), make_input(2, (50, 40))]
    losses = detector(batch)
    assert as_numbers(losses) == pytest.approx(naive_losses(detector, batch), rel=1e-5)
    assert losses["loss_box_reg"].item() == losses["loss_ctr"].item() == 0.0
    sum(losses.values()).backward()
    for name, parameter in detector.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), name
    assert not detector.head.bbox_pred.weight.grad.any()
    assert detector.head.cls_logits.weight.grad.any()


def test_an_object_too_small_for_any_anchor_is_no_crash(make_detector, make_input):
    losses = make_detector()([make_input(1, (64, 96), [[3.0, 3.0, 3.2, 3.1]], [0])])
    assert losses["loss_box_reg"].item() == 0.0
    assert all(value.isfinite() for value in losses.values())


def test_the_order_of_images_and_of_objects_does_not_matter(make_detector, batch):
    detector = make_detector()
    expected = as_numbers(detector(batch))
    reordered = [dict(x, instances=x["instances"][OBJECTS[len(x["instances"])]]) for x in batch]
    assert as_numbers(detector(reordered[::-1])) == pytest.approx(expected, rel=1e-5)


OBJECTS = {0: [], 1: [0], 3: [2, 0, 1]}


def test_positives_are_ordered_by_image_and_carry_their_objects(batch):
    anchors = [torch.tensor([[0.0, 0.0, 64.0, 64.0], [32.0, 0.0, 96.0, 64.0]])]
    truth = [x["instances"] for x in batch]
    matched = [assign_anchors(anchors, each.gt_boxes.tensor, 1) for each in truth]
    positives = find_positives(truth, torch.stack(matched))
    assert positives.images.tolist() == [0, 0, 2]
    assert positives.anchors.tolist() == [0, 1, 0]
    assert positives.classes.tolist() == [0, 2, 1]
    expected = [truth[0].gt_boxes.tensor[:2], truth[2].gt_boxes.tensor]
    assert torch.equal(positives.boxes, torch.cat(expected))


def test_centerness_is_one_in_the_middle_and_small_at_the_border():
    anchors = torch.tensor([[0.0, 0.0, 8.0, 8.0]]).repeat(3, 1)
    boxes = torch.tensor([[-6.0, 1.0, 14.0, 7.0], [3.9, -10.0, 60.0, 18.0], [2.0, 0.0, 12.0, 12.0]])
    expected = [
        plain_double.centerness(plain_double.center(a), b)
        for a, b in zip(anchors.tolist(), boxes.tolist(), strict=True)
    ]
    targets = centerness_targets(anchors, boxes)
    torch.testing.assert_close(targets, torch.tensor(expected), rtol=1e-5, atol=0)
    assert targets[0] == 1 and targets[1] < 0.05


def test_normalizers_are_safe_without_positives():
    count, total = normalizers(torch.zeros(0))
    assert count == 1 and total > 0
    count, total = normalizers(torch.tensor([0.5, 0.25]))
    assert count == 2 and total == 0.75


def test_mixed_precision_trains_with_nearly_the_same_losses(make_detector, batch):
    detector = make_detector()
    with torch.autocast("cpu", torch.bfloat16):
        losses = detector(batch)
    assert all(value.dtype == torch.float32 for value in losses.values())
    assert as_numbers(losses) == pytest.approx(as_numbers(detector(batch)), rel=0.03)
