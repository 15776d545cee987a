"""The assignment against a double that goes through the objects one by one, in plain Python."""

import math
import statistics

import pytest
import torch

from dyhead.box_geometry import aligned_iou
from dyhead.d2.modeling.anchor_generator import DefaultAnchorGenerator
from dyhead.modeling.meta_arch import atss_assignment
from dyhead.modeling.meta_arch.assignment import BACKGROUND, resolve_claims
from dyhead.modeling.meta_arch.atss_assignment import (
    assign_anchors,
    select_candidates_per_level,
    select_positives,
)

STRIDES = (8, 16, 32, 64)


def grid_of_anchors(height, width, ratios=(1.0,)):
    generator = DefaultAnchorGenerator(
        sizes=[[8.0 * s] for s in STRIDES], aspect_ratios=[list(ratios)], strides=list(STRIDES)
    )
    features = [torch.zeros(1, 1, math.ceil(height / s), math.ceil(width / s)) for s in STRIDES]
    return [boxes.tensor for boxes in generator(features)]


def random_boxes(count, height, width, seed, smallest=2.0):
    generator = torch.Generator().manual_seed(seed)
    size = torch.tensor([width, height])
    center = torch.rand(count, 2, generator=generator) * size
    extent = smallest + torch.rand(count, 2, generator=generator) ** 2 * size
    return torch.cat([center - extent / 2, center + extent / 2], dim=1)


def center(box):
    return (box[0] + box[2]) / 2, (box[1] + box[3]) / 2


def iou(a, b):
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    area_a, area_b = (a[2] - a[0]) * (a[3] - a[1]), (b[2] - b[0]) * (b[3] - b[1])
    return width * height / (area_a + area_b - width * height)


def naive_candidates(levels, box, k):
    found, start = [], 0
    for anchors in levels:
        order = sorted(
            range(len(anchors)), key=lambda i: math.dist(center(anchors[i]), center(box))
        )
        found += [start + i for i in order[:k]]
        start += len(anchors)
    return found


def is_inside(point, box, margin=0.01):
    x, y = point
    return min(x - box[0], y - box[1], box[2] - x, box[3] - y) > margin


def naive_assignment(levels, boxes, k, candidates=None):
    """The object of every anchor; `candidates`, per object, may be prescribed."""
    levels, boxes = [level.tolist() for level in levels], boxes.tolist()
    anchors = [anchor for level in levels for anchor in level]
    owner, best = [BACKGROUND] * len(anchors), [-1.0] * len(anchors)
    for m, box in enumerate(boxes):
        chosen = candidates[m] if candidates else naive_candidates(levels, box, k)
        ious = [iou(anchors[i], box) for i in chosen]
        threshold = statistics.mean(ious) + statistics.stdev(ious)
        for i, value in zip(chosen, ious, strict=True):
            positive = value >= threshold and is_inside(center(anchors[i]), box)
            if positive and value > best[i]:
                owner[i], best[i] = m, value
    return torch.tensor(owner)


@pytest.mark.parametrize("seed", range(5))
def test_assignment_equals_the_naive_double(seed):
    levels, boxes = grid_of_anchors(150, 200), random_boxes(12, 150, 200, seed)
    matched = assign_anchors(levels, boxes, 9)
    assert (matched != BACKGROUND).sum() > 12
    assert torch.equal(matched, naive_assignment(levels, boxes, 9))


def test_several_anchors_per_location_equal_the_naive_double():
    levels = grid_of_anchors(100, 120, ratios=(0.5, 1.0, 2.0))
    boxes = random_boxes(8, 100, 120, seed=7)
    assert torch.equal(assign_anchors(levels, boxes, 27), naive_assignment(levels, boxes, 27))


def test_tiny_and_huge_boxes_equal_the_naive_double():
    levels = grid_of_anchors(150, 200)
    tiny = random_boxes(1, 150, 200, seed=1)[:, :2].repeat(1, 2) + torch.tensor([0, 0, 0.7, 0.4])
    around_a_center = torch.tensor([[19.7, 27.6, 20.4, 28.3]])
    huge = torch.tensor([[-900.3, -700.2, 1300.1, 1500.8], [-30.1, -20.4, 260.9, 190.2]])
    boxes = torch.cat([tiny, around_a_center, huge])
    matched = assign_anchors(levels, boxes, 9)
    assert torch.equal(matched, naive_assignment(levels, boxes, 9))
    assert {1, 2, 3} <= set(matched.tolist())


def test_a_box_without_area_is_assigned_to_no_anchor():
    boxes = torch.tensor([[20.0, 28.0, 20.0, 28.0], [12.0, 28.0, 60.0, 28.0]])
    assert (assign_anchors(grid_of_anchors(64, 64), boxes, 9) == BACKGROUND).all()


def test_an_image_without_objects_is_all_background():
    levels = grid_of_anchors(64, 96)
    matched = assign_anchors(levels, torch.zeros(0, 4), 9)
    assert matched.shape == (sum(map(len, levels)),)
    assert matched.dtype == torch.int64
    assert (matched == BACKGROUND).all()


@pytest.mark.parametrize("seed", range(3))
def test_with_equal_distances_a_nearest_set_is_taken_and_the_rest_follows(seed):
    levels = grid_of_anchors(128, 128)
    boxes = (random_boxes(10, 128, 128, seed, smallest=16) / 8).round() * 8
    candidates = select_candidates_per_level(levels, boxes, 9)
    start, ties = 0, 0
    for level in levels:
        centers = atss_assignment.box_centers(level)
        distances = torch.cdist(atss_assignment.box_centers(boxes).double(), centers.double())
        for m, chosen in enumerate(candidates.t()):
            here = chosen[(chosen >= start) & (chosen < start + len(level))] - start
            assert len(here) == len(set(here.tolist())) == min(9, len(level))
            nearest = distances[m].sort().values[: len(here)]
            torch.testing.assert_close(distances[m][here].sort().values, nearest)
            ties += len(level) > 9 and bool((distances[m] == nearest[-1]).sum() > 1)
        start += len(level)
    assert ties > 0
    expected = naive_assignment(levels, boxes, 9, candidates.t().tolist())
    assert torch.equal(assign_anchors(levels, boxes, 9), expected)


def test_blocks_of_objects_give_the_same_assignment(monkeypatch):
    levels, boxes = grid_of_anchors(150, 200), random_boxes(12, 150, 200, seed=3).round()
    whole = assign_anchors(levels, boxes, 9)
    monkeypatch.setattr(atss_assignment, "MAX_PAIRS", 1000)
    assert torch.equal(assign_anchors(levels, boxes, 9), whole)


def test_no_distance_block_exceeds_its_limit(monkeypatch):
    monkeypatch.setattr(atss_assignment, "MAX_PAIRS", 1000)
    sizes = []

    def measured(points, centers, original=atss_assignment._distances):
        result = original(points, centers)
        sizes.append(result.numel())
        return result

    monkeypatch.setattr(atss_assignment, "_distances", measured)
    levels = grid_of_anchors(150, 200)
    assign_anchors(levels, random_boxes(30, 150, 200, seed=3), 9)
    assert max(sizes) <= 1000


def test_the_order_of_the_objects_only_renames_them():
    levels, boxes = grid_of_anchors(150, 200), random_boxes(12, 150, 200, seed=4)
    order = torch.randperm(12, generator=torch.Generator().manual_seed(0))
    matched, permuted = assign_anchors(levels, boxes, 9), assign_anchors(levels, boxes[order], 9)
    assert torch.equal(matched == BACKGROUND, permuted == BACKGROUND)
    positive = matched != BACKGROUND
    assert torch.equal(matched[positive], order[permuted[positive]])


def test_an_anchor_claimed_twice_goes_to_the_higher_iou_and_then_to_the_first():
    candidates = torch.tensor([[0, 0, 1], [2, 2, 2]])
    ious = torch.tensor([[0.3, 0.5, 0.9], [0.4, 0.4, 0.4]])
    positive = torch.tensor([[True, True, False], [False, True, True]])
    assert resolve_claims(candidates, ious, positive, 4).tolist() == [1, BACKGROUND, 1, BACKGROUND]


def test_equal_boxes_leave_the_second_without_anchors():
    levels, box = grid_of_anchors(64, 64), torch.tensor([[5.3, 6.2, 50.1, 61.4]])
    matched = assign_anchors(levels, box.repeat(2, 1), 9)
    assert torch.equal(matched, assign_anchors(levels, box, 9))


def test_a_single_anchor_is_its_own_threshold():
    anchors = [torch.tensor([[0.0, 0.0, 64.0, 64.0]])]
    assert assign_anchors(anchors, torch.tensor([[10.0, 10.0, 60.0, 60.0]]), 9).tolist() == [0]


def test_iou_equals_the_naive_one_and_is_zero_without_overlap():
    boxes1, boxes2 = random_boxes(50, 100, 100, seed=1), random_boxes(50, 100, 100, seed=2)
    expected = [iou(a, b) for a, b in zip(boxes1.tolist(), boxes2.tolist(), strict=True)]
    torch.testing.assert_close(aligned_iou(boxes1, boxes2), torch.tensor(expected))
    points = torch.zeros(1, 4)
    assert aligned_iou(points, points).item() == 0.0


def test_the_threshold_is_mean_plus_unbiased_deviation():
    anchors, box = (
        torch.tensor([[8.0, 8.0, 24.0, 24.0]]).repeat(4, 1, 1),
        torch.tensor([[0.0, 0, 32, 32]]),
    )
    below = torch.tensor([[0.0], [0.0], [0.5], [0.5]])  # 0.25 + 0.29; the biased one gives 0.25
    assert not select_positives(anchors, box, below).any()
    above = torch.tensor([[0.0], [0.0], [0.0], [0.5]])  # 0.125 + 0.25
    assert select_positives(anchors, box, above).flatten().tolist() == [False, False, False, True]


@pytest.mark.parametrize(("inside", "positive"), [(-0.5, False), (0.005, False), (0.02, True)])
def test_a_centre_has_to_be_a_hundredth_of_a_pixel_inside(inside, positive):
    """One candidate, which always reaches its own threshold, with its centre near the border."""
    anchors = torch.tensor([[[-4.0, 0.0, 4.0, 8.0]]])
    boxes = torch.tensor([[-inside, 0.0, 8.0, 8.0]])
    ious = aligned_iou(anchors, boxes)
    assert select_positives(anchors, boxes, ious).item() is positive
