"""The output layers' losses and boxes, against sums over regions."""

import pytest
import torch
from small_regions import regions
from torch.nn import functional as F

from dyhead.d2.layers import ShapeSpec
from dyhead.d2.modeling.box_regression import Box2BoxTransform
from dyhead.d2.modeling.roi_heads import FastRCNNOutputLayers
from dyhead.d2.structures import Boxes
from dyhead.d2.utils.events import EventStorage


def output_layers(**options):
    arguments = {
        "box2box_transform": Box2BoxTransform(weights=(10.0, 10.0, 5.0, 5.0)),
        "num_classes": 5,
    }
    return FastRCNNOutputLayers(ShapeSpec(channels=8), **(arguments | options))


def test_losses_of_the_output_layers_that_detectron2_expects():
    torch.manual_seed(132)
    layers = output_layers()
    predictions = layers(torch.rand(2, 8))
    sampled = regions([[0.8, 1.1, 3.2, 2.8], [2.3, 2.5, 7, 8]], (10, 10))
    sampled.gt_boxes = Boxes([[1.0, 1, 3, 3], [2, 2, 6, 6]])
    sampled.gt_classes = torch.tensor([1, 2])
    with EventStorage():
        losses = layers.losses(predictions, [sampled])
    assert losses["loss_cls"].item() == pytest.approx(1.7951188087, rel=1e-5)
    assert losses["loss_box_reg"].item() == pytest.approx(4.0357131958, rel=1e-5)


@pytest.mark.parametrize("sigmoid", [False, True])
def test_no_regions_at_all(sigmoid):
    layers = output_layers(use_sigmoid_ce=sigmoid)
    logits = torch.randn(0, 6, requires_grad=True)
    deltas = torch.randn(0, 4, requires_grad=True)
    losses = layers.losses([logits, deltas], [])
    assert all(loss == 0 for loss in losses.values())
    sum(losses.values()).backward()
    assert deltas.grad is not None
    assert sigmoid or logits.grad is not None
    assert list(layers.inference([logits, deltas], [])[0]) == []


def sampled_regions(num_classes):
    torch.manual_seed(4)
    corner = torch.rand(6, 2) * 20
    sampled = regions(torch.cat([corner, corner + 10], dim=1))
    sampled.gt_boxes = Boxes(sampled.proposal_boxes.tensor + torch.rand(6, 4))
    sampled.gt_classes = torch.tensor([0, 1, 4, num_classes, num_classes, 2])
    return sampled


@pytest.mark.parametrize("agnostic", [False, True])
@pytest.mark.parametrize("sigmoid", [False, True])
def test_losses_against_sums_over_regions(agnostic, sigmoid):
    weights = {"loss_box_reg": 2.0}
    layers = output_layers(
        cls_agnostic_bbox_reg=agnostic, use_sigmoid_ce=sigmoid, loss_weight=weights
    )
    sampled = sampled_regions(5)
    scores, deltas = torch.randn(6, 6), torch.randn(6, 4 if agnostic else 20)
    with EventStorage() as storage:
        losses = layers.losses((scores, deltas), [sampled])
    cls_sum, box_sum = 0.0, 0.0
    for index, label in enumerate(sampled.gt_classes.tolist()):
        if sigmoid:
            target = torch.tensor([float(k == label) for k in range(5)])
            cls_sum += F.binary_cross_entropy(scores[index, :5].sigmoid(), target, reduction="sum")
        else:
            cls_sum -= scores[index].log_softmax(0)[label]
        if label < 5:
            own = deltas[index] if agnostic else deltas[index, 4 * label : 4 * label + 4]
            boxes = sampled.proposal_boxes.tensor[index : index + 1]
            wanted = layers.box2box_transform.get_deltas(
                boxes, sampled.gt_boxes.tensor[index : index + 1]
            )
            box_sum += (own - wanted[0]).abs().sum()
    torch.testing.assert_close(losses["loss_cls"], cls_sum / 6)
    torch.testing.assert_close(losses["loss_box_reg"], 2 * box_sum / 6)
    predicted, truth = scores.argmax(dim=1), sampled.gt_classes
    logged = {name: value for name, (value, _) in storage.latest().items()}
    expected = {"fast_rcnn/cls_accuracy": (predicted == truth).float().mean()}
    foreground = truth < 5
    expected["fast_rcnn/fg_cls_accuracy"] = (predicted == truth)[foreground].float().mean()
    expected["fast_rcnn/false_negative"] = (predicted == 5)[foreground].float().mean()
    assert logged == {name: pytest.approx(float(value)) for name, value in expected.items()}


def test_background_alone_has_no_box_loss_and_no_foreground_scalars():
    layers = output_layers()
    sampled = regions([[0, 0, 5, 5]])
    sampled.gt_classes = torch.tensor([5])
    predictions = layers(torch.rand(1, 8))
    with EventStorage() as storage:
        losses = layers.losses(predictions, [sampled])
    assert losses["loss_box_reg"] == 0
    assert set(storage.latest()) == {"fast_rcnn/cls_accuracy"}
    losses["loss_box_reg"].backward()
    assert (layers.bbox_pred.weight.grad == 0).all()


@pytest.mark.parametrize("kind", ["giou", "diou", "ciou"])
def test_box_losses_on_boxes_are_zero_for_perfect_deltas(kind):
    layers = output_layers(box_reg_loss_type=kind, cls_agnostic_bbox_reg=True)
    sampled = sampled_regions(5)
    boxes, gt_boxes = sampled.proposal_boxes.tensor, sampled.gt_boxes.tensor
    perfect = layers.box2box_transform.get_deltas(boxes, gt_boxes)
    loss = layers.box_reg_loss(boxes, gt_boxes, perfect, sampled.gt_classes)
    torch.testing.assert_close(loss, torch.zeros(()), atol=1e-5, rtol=0)
    assert layers.box_reg_loss(boxes, gt_boxes, perfect + 1, sampled.gt_classes) > 0.1


@pytest.mark.parametrize("agnostic", [False, True])
def test_boxes_of_the_true_classes(agnostic):
    layers = output_layers(cls_agnostic_bbox_reg=agnostic)
    deltas = torch.randn(6, 4 if agnostic else 20)
    sampled = sampled_regions(5)
    (boxes,) = layers.predict_boxes_for_gt_classes((None, deltas), [sampled])
    for index, label in enumerate(sampled.gt_classes.clamp(max=4).tolist()):
        own = deltas[index] if agnostic else deltas[index, 4 * label : 4 * label + 4]
        source = sampled.proposal_boxes.tensor[index : index + 1]
        expected = layers.box2box_transform.apply_deltas(own[None], source)
        torch.testing.assert_close(boxes[index], expected[0])
    assert sampled.gt_classes.max() == 5  # unchanged


def test_probabilities():
    scores = torch.randn(3, 6)
    proposals = [regions([[0, 0, 1, 1]] * 2), regions([]), regions([[0, 0, 1, 1]])]
    softmax = output_layers().predict_probs((scores, None), proposals)
    sigmoid = output_layers(use_sigmoid_ce=True).predict_probs((scores, None), proposals)
    assert [len(p) for p in softmax] == [2, 0, 1]
    torch.testing.assert_close(torch.cat(list(softmax)), scores.softmax(dim=1))
    torch.testing.assert_close(torch.cat(list(sigmoid)), scores.sigmoid())
