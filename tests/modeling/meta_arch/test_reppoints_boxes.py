"""Boxes of point sets, against the library of Python and in their gradients."""

import statistics

import pytest
import torch

from dyhead.modeling.meta_arch.locations import PointBoxTransform
from dyhead.modeling.meta_arch.reppoints_boxes import PseudoBox, scale_gradient


def naive_box(points, transform, factors):
    """The box of a list of (y, x)."""
    if transform == "partial_minmax":
        points = points[:4]
    sides = []
    for axis, factor in ((1, factors[0]), (0, factors[1])):
        values = [point[axis] for point in points]
        if transform == "moment":
            mean, deviation = statistics.fmean(values), statistics.stdev(values)
            sides.append((mean - deviation * factor, mean + deviation * factor))
        else:
            sides.append((min(values), max(values)))
    return [sides[0][0], sides[1][0], sides[0][1], sides[1][1]]


@pytest.mark.parametrize("transform", ["moment", "minmax", "partial_minmax"])
def test_boxes_equal_a_plain_double(transform):
    torch.manual_seed(0)
    points = torch.randn(2, 18, 3, 4, dtype=torch.float64)
    pseudo_box = PseudoBox(transform).double()
    factors = [1.0, 1.0]
    if transform == "moment":
        torch.nn.init.normal_(pseudo_box.moment_transfer)
        factors = pseudo_box.moment_transfer.exp().tolist()
    boxes = pseudo_box(points)
    assert boxes.shape == (2, 4, 3, 4)
    for n in range(2):
        for y in range(3):
            for x in range(4):
                pairs = points[n, :, y, x].reshape(9, 2).tolist()
                expected = naive_box(pairs, transform, factors)
                assert boxes[n, :, y, x].tolist() == pytest.approx(expected)


@pytest.mark.parametrize("transform", ["moment", "minmax", "partial_minmax"])
def test_boxes_let_gradients_through(transform):
    torch.manual_seed(0)
    points = torch.randn(1, 18, 2, 1, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(PseudoBox(transform).double(), (points,))


def test_the_moments_factors_get_a_share_of_their_gradient():
    points = torch.randn(1, 18, 2, 2)
    gradients = []
    for share in (1.0, 0.25):
        pseudo_box = PseudoBox("moment", moment_mul=share)
        pseudo_box(points).square().sum().backward()
        gradients.append(pseudo_box.moment_transfer.grad)
    torch.testing.assert_close(gradients[1], 0.25 * gradients[0])
    assert gradients[0].all()


def test_points_in_one_place_give_finite_gradients():
    points = torch.ones(1, 18, 2, 2, requires_grad=True)
    boxes = PseudoBox("moment")(points)
    assert torch.equal(boxes, torch.ones(1, 4, 2, 2))
    boxes.sum().backward()
    assert points.grad.isfinite().all()


def test_only_moments_have_parameters():
    assert [name for name, _ in PseudoBox("moment").named_parameters()] == ["moment_transfer"]
    assert not list(PseudoBox("minmax").parameters())


def test_an_unknown_transform_is_answered_with_the_known_ones():
    with pytest.raises(ValueError, match="'mean': use one of moment, minmax, partial_minmax"):
        PseudoBox("mean")


def test_scale_gradient_changes_the_gradient_alone():
    x = torch.randn(5, requires_grad=True)
    scaled = scale_gradient(x, 0.1)
    assert torch.equal(scaled, x)
    scaled.sum().backward()
    torch.testing.assert_close(x.grad, torch.full((5,), 0.1))


def test_offsets_count_from_the_middle_in_sides():
    transform = PointBoxTransform()
    location = torch.tensor([[16.0, 32.0, 24.0, 40.0]])  # around (20, 36), stride 8
    box = transform.apply_deltas(torch.tensor([[0.5, -1.0, 2.0, 0.25]]), location)
    assert box.tolist() == [[24.0, 28.0, 36.0, 38.0]]
    batch = transform.apply_deltas(torch.zeros(3, 1, 4), location)
    assert batch.tolist() == [[[20.0, 36.0, 20.0, 36.0]]] * 3
