"""Boxes and their overlap."""

import pytest
import torch
from torchvision.ops import box_iou

from dyhead.d2.structures import (
    Boxes,
    pairwise_ioa,
    pairwise_iou,
    pairwise_point_box_distance,
)
from dyhead.d2.structures.boxes import matched_pairwise_iou


def random_boxes(count: int, seed: int = 0) -> Boxes:
    generator = torch.Generator().manual_seed(seed)
    corner = torch.rand(count, 2, generator=generator) * 50
    return Boxes(
        torch.cat([corner, corner + 1 + torch.rand(count, 2, generator=generator) * 40], 1)
    )


@pytest.mark.parametrize("empty", [[], torch.zeros(0), torch.zeros(0, 4)])
def test_empty_boxes_work_throughout(empty):
    boxes = Boxes(empty)
    assert boxes.tensor.shape == (0, 4)
    assert len(boxes) == 0
    assert boxes.area().shape == boxes.nonempty().shape == boxes.inside_box((5, 5)).shape == (0,)
    assert boxes.get_centers().shape == (0, 2)
    boxes.clip((10, 10))
    boxes.scale(2.0, 3.0)
    assert boxes[torch.zeros(0, dtype=torch.bool)].tensor.shape == (0, 4)
    assert Boxes.cat([boxes, random_boxes(2)]).tensor.shape == (2, 4)
    assert list(boxes) == []
    assert pairwise_iou(boxes, random_boxes(3)).shape == (0, 3)
    assert pairwise_iou(random_boxes(3), boxes).shape == (3, 0)


def test_boxes_are_float32():
    for values in ([[0, 0, 5, 6]], torch.tensor([[0, 0, 5, 6]]), torch.ones(1, 4).double()):
        assert Boxes(values).tensor.dtype == torch.float32


@pytest.mark.parametrize("shape", [(4,), (2, 5), (1, 2, 4)])
def test_wrong_shapes_are_refused(shape):
    with pytest.raises((AssertionError, ValueError)):
        Boxes(torch.ones(shape))


def test_geometry():
    boxes = Boxes([[0, 0, 4, 2], [3, 3, 3, 8], [-2, 1, 12, 30]])
    assert boxes.area().tolist() == [8, 0, 14 * 29]
    assert boxes.nonempty().tolist() == [True, False, True]
    assert boxes.nonempty(threshold=2).tolist() == [False, False, True]
    assert boxes.get_centers().tolist() == [[2, 1], [3, 5.5], [5, 15.5]]
    assert boxes.inside_box((10, 10)).tolist() == [True, True, False]
    assert boxes.inside_box((30, 11), boundary_threshold=2).tolist() == [True, True, True]


def test_clip_takes_height_then_width():
    boxes = Boxes([[-5, -5, 100, 100], [1, 2, 3, 4]])
    boxes.clip((20, 30))
    assert boxes.tensor.tolist() == [[0, 0, 30, 20], [1, 2, 3, 4]]


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_clip_refuses_what_is_not_finite(value):
    with pytest.raises((AssertionError, ValueError)):
        Boxes([[0, 0, value, 1]]).clip((10, 10))


def test_scale_works_in_place_and_clone_is_apart():
    boxes = Boxes([[1, 2, 3, 4]])
    copy = boxes.clone()
    boxes.scale(2.0, 10.0)
    assert boxes.tensor.tolist() == [[2, 20, 6, 40]]
    assert copy.tensor.tolist() == [[1, 2, 3, 4]]


def test_indexing():
    boxes = random_boxes(5)
    assert torch.equal(boxes[2].tensor, boxes.tensor[2:3])
    assert torch.equal(boxes[-1].tensor, boxes.tensor[-1:])
    assert torch.equal(boxes[1:3].tensor, boxes.tensor[1:3])
    mask = torch.tensor([True, False, True, False, False])
    assert torch.equal(boxes[mask].tensor, boxes.tensor[mask])
    assert torch.equal(boxes[torch.tensor([4, 0])].tensor, boxes.tensor[[4, 0]])
    with pytest.raises(IndexError):
        boxes[5]
    assert torch.equal(torch.stack(list(boxes)), boxes.tensor)


def test_cat_and_device():
    first, second = random_boxes(2), random_boxes(3, seed=1)
    joined = Boxes.cat([first, second])
    assert torch.equal(joined.tensor, torch.cat([first.tensor, second.tensor]))
    assert Boxes.cat([]).tensor.numel() == 0
    alone = Boxes.cat([first])
    alone.scale(2.0, 2.0)
    assert not torch.equal(alone.tensor, first.tensor)
    assert first.to("cpu").device == torch.device("cpu")


def test_iou_is_that_of_torchvision():
    first, second = random_boxes(20), random_boxes(30, seed=1)
    torch.testing.assert_close(pairwise_iou(first, second), box_iou(first.tensor, second.tensor))


def test_iou_of_degenerate_boxes_is_zero():
    boxes = Boxes([[1, 1, 1, 1], [0, 0, 5, 0]])
    assert pairwise_iou(boxes, boxes).tolist() == [[0, 0], [0, 0]]


def test_intersection_over_area_is_the_share_of_the_second_box():
    boxes = Boxes([[0, 0, 10, 10], [20, 20, 30, 30]])
    others = Boxes([[0, 0, 5, 10], [5, 5, 25, 25], [40, 40, 40, 40]])
    expected = torch.tensor([[1.0, 25 / 400, 0.0], [0.0, 25 / 400, 0.0]])
    torch.testing.assert_close(pairwise_ioa(boxes, others), expected)


def test_matched_iou_is_the_diagonal_of_the_pairwise_one():
    boxes, others = random_boxes(6), random_boxes(6, seed=1)
    pairwise = pairwise_iou(boxes, others)
    torch.testing.assert_close(matched_pairwise_iou(boxes, others), pairwise.diagonal())


def test_distances_from_a_point_lead_to_the_sides_of_the_box():
    points, boxes = torch.rand(5, 2) * 60, random_boxes(3)
    distances = pairwise_point_box_distance(points, boxes)
    assert distances.shape == (5, 3, 4)
    towards = distances * torch.tensor([-1, -1, 1, 1])
    corners = points.repeat(1, 2)[:, None] + towards
    torch.testing.assert_close(corners, boxes.tensor.expand(5, 3, 4))
