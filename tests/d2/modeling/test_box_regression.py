"""The box losses of dense detectors against sums over positive anchors."""

import plain_double as double
import pytest
import torch

from dyhead.d2 import HOST
from dyhead.d2.modeling.box_regression import (
    Box2BoxTransform,
    Box2BoxTransformLinear,
    _dense_box_regression_loss,
)
from dyhead.d2.structures import Boxes

WEIGHTS = (10.0, 10.0, 5.0, 5.0)
LEVELS = (7, 4)
NUM_IMAGES = 3


def random_boxes(count, generator):
    corner = torch.rand(count, 2, generator=generator) * 40
    return torch.cat([corner, corner + 4 + torch.rand(count, 2, generator=generator) * 40], dim=1)


@pytest.fixture
def batch():
    """Anchors and deltas per level, boxes per image, and which anchors are positive."""
    generator = torch.Generator().manual_seed(2)
    anchors = [random_boxes(count, generator) for count in LEVELS]
    deltas = [torch.randn(NUM_IMAGES, count, 4, generator=generator) for count in LEVELS]
    boxes = [random_boxes(sum(LEVELS), generator) for _ in range(NUM_IMAGES)]
    positive = torch.rand(NUM_IMAGES, sum(LEVELS), generator=generator) < 0.4
    positive[1] = False
    return anchors, [level.requires_grad_() for level in deltas], boxes, positive


def loss_of(batch, **options):
    anchors, deltas, boxes, positive = batch
    transform = Box2BoxTransform(weights=WEIGHTS)
    return _dense_box_regression_loss(anchors, transform, deltas, boxes, positive, **options)


def naive_loss(batch, kind, beta=0.0):
    anchors, deltas, boxes, positive = batch
    anchors, deltas = torch.cat(anchors).tolist(), torch.cat(deltas, dim=1).tolist()
    total = 0.0
    for i, t in positive.nonzero().tolist():
        delta, target = deltas[i][t], boxes[i][t].tolist()
        if kind == "smooth_l1":
            total += double.smooth_l1_loss(delta, double.encode(anchors[t], target, WEIGHTS), beta)
        else:
            predicted = double.decode(delta, anchors[t], WEIGHTS)
            total += getattr(double, f"{kind}_loss")(predicted, target)
    return total


@pytest.mark.parametrize("kind", ["giou", "diou", "ciou"])
def test_losses_of_boxes_equal_the_naive_double(batch, kind):
    loss = loss_of(batch, box_reg_loss_type=kind)
    assert loss.item() == pytest.approx(naive_loss(batch, kind), rel=1e-5)


@pytest.mark.parametrize("beta", [0.0, 0.1, 1.0])
def test_loss_of_deltas_equals_the_naive_double(batch, beta):
    loss = loss_of(batch, smooth_l1_beta=beta)
    assert loss.item() == pytest.approx(naive_loss(batch, "smooth_l1", beta), rel=1e-5)


def test_anchors_may_be_boxes(batch):
    anchors, *rest = batch
    loss = loss_of([[Boxes(level) for level in anchors], *rest])
    assert torch.equal(loss, loss_of(batch))


@pytest.mark.parametrize("kind", ["smooth_l1", "giou", "diou", "ciou"])
def test_only_positive_anchors_learn(batch, kind):
    loss_of(batch, box_reg_loss_type=kind).backward()
    gradient = torch.cat([level.grad for level in batch[1]], dim=1)
    assert torch.equal(gradient.abs().sum(dim=-1) > 0, batch[3])


@pytest.mark.parametrize("kind", ["smooth_l1", "giou", "diou", "ciou"])
def test_without_positive_anchors_the_loss_is_zero_and_has_a_gradient(batch, kind):
    anchors, deltas, boxes, positive = batch
    loss = loss_of((anchors, deltas, boxes, positive & False), box_reg_loss_type=kind)
    loss.backward()
    assert loss.item() == 0
    assert all(not level.grad.any() for level in deltas)


def test_an_unknown_loss_is_refused_by_name(batch):
    with pytest.raises(ValueError, match="huber"):
        loss_of(batch, box_reg_loss_type="huber")


@pytest.mark.parametrize("normalize", [True, False])
def test_linear_deltas_are_distances_from_the_centre_and_lead_back(normalize):
    anchors = torch.tensor([[0.0, 0, 8, 8], [10, 20, 26, 36]])
    boxes = torch.tensor([[1.0, 2, 30, 9], [0, 0, 40, 40]])
    transform = Box2BoxTransformLinear(normalize_by_size=normalize)
    deltas = transform.get_deltas(anchors, boxes)
    expected = torch.tensor([[3.0, 2, 26, 5], [18, 28, 22, 12]])
    sizes = torch.tensor([[8], [16]]) if normalize else 1
    torch.testing.assert_close(deltas, expected / sizes)
    torch.testing.assert_close(transform.apply_deltas(deltas, anchors), boxes)
    if HOST == "embedded" or not normalize:  # Detectron2's own fails there
        by_class = transform.apply_deltas(deltas.repeat(1, 3), anchors)
        torch.testing.assert_close(by_class, boxes.repeat(1, 3))
    inverted = transform.apply_deltas(-deltas, anchors)
    torch.testing.assert_close(inverted[:, :2], inverted[:, 2:])
