"""Both assignments of RepPoints against plain loops, and what decides between equals."""

import math

import pytest
import torch

from dyhead import box_geometry
from dyhead.d2.structures import Boxes, Instances
from dyhead.modeling.meta_arch import reppoints_assignment
from dyhead.modeling.meta_arch.assignment import BACKGROUND, IGNORED, find_positives
from dyhead.modeling.meta_arch.reppoints_assignment import (
    assign_by_location,
    assign_by_overlap,
    suitable_levels,
)

STRIDES = (8, 16, 32)
THRESHOLDS = {"background_below": 0.4, "positive_from": 0.5}


def locations(size=128, strides=STRIDES):
    """Squares around the locations of every level, row by row."""
    levels = []
    for stride in strides:
        steps = torch.arange(0, size, stride, dtype=torch.float32)
        y, x = torch.meshgrid(steps, steps, indexing="ij")
        corners = torch.stack([x, y], dim=-1).reshape(-1, 2)
        levels.append(torch.cat([corners, corners + stride], dim=1))
    return levels


def random_boxes(count, seed, size=128):
    generator = torch.Generator().manual_seed(seed)
    corners = torch.rand(count, 2, generator=generator) * (size - 10)
    sides = 4 + torch.rand(count, 2, generator=generator) ** 2 * 150
    return torch.cat([corners, corners + sides], dim=1)


def naive_by_location(anchors, boxes, base_scale, topk):
    matched, start = [BACKGROUND] * sum(len(level) for level in anchors), 0
    nearest = [math.inf] * len(matched)
    strides = [(level[0, 2] - level[0, 0]).item() for level in anchors]
    for stride, level in zip(strides, anchors, strict=True):
        for m, (x1, y1, x2, y2) in enumerate(boxes.tolist()):
            wanted = math.floor(math.log2(math.sqrt((x2 - x1) * (y2 - y1)) / base_scale))
            wanted = min(max(wanted, math.log2(strides[0])), math.log2(strides[-1]))
            if wanted != math.log2(stride):
                continue
            distances = []
            for i, (left, top, right, bottom) in enumerate(level.tolist()):
                dx = ((left + right) / 2 - (x1 + x2) / 2) / (x2 - x1)
                dy = ((top + bottom) / 2 - (y1 + y2) / 2) / (y2 - y1)
                distances.append((math.hypot(dx, dy), start + i))
            for distance, location in sorted(distances)[:topk]:
                if distance < nearest[location]:
                    matched[location], nearest[location] = m, distance
        start += len(level)
    return matched


@pytest.mark.parametrize("topk", [1, 3, 20])
@pytest.mark.parametrize("seed", range(3))
def test_the_first_stage_equals_a_plain_double(monkeypatch, seed, topk):
    anchors, boxes = locations(), random_boxes(25, seed)
    expected = naive_by_location(anchors, boxes, 4, topk)
    assert assign_by_location(anchors, boxes, base_scale=4, topk=topk).tolist() == expected
    assert sum(m != BACKGROUND for m in expected) > 10
    monkeypatch.setattr(reppoints_assignment, "MAX_PAIRS", 300)  # of one or a few objects each
    assert assign_by_location(anchors, boxes, base_scale=4, topk=topk).tolist() == expected


def test_an_object_goes_to_the_level_of_its_size():
    sides = torch.tensor([1.0, 32.0, 63.9, 64.0, 127.9, 128.0, 1e4, 0.0])
    boxes = torch.stack([torch.zeros(8), torch.zeros(8), sides, sides], dim=1)
    assert suitable_levels(locations(), boxes, 4).tolist() == [0, 0, 0, 1, 1, 2, 2, 0]
    flat = torch.tensor([[0.0, 0.0, 256.0, 16.0]])  # as large as a square of 64
    assert suitable_levels(locations(), flat, 4).tolist() == [1]


def test_one_location_between_two_objects_goes_to_the_nearer_then_to_the_first():
    anchors = [torch.tensor([[0.0, 0.0, 8.0, 8.0]])]
    boxes = torch.tensor([[0.0, 0, 10, 10], [0, 0, 9, 9], [-1, -1, 8, 8]])
    for order, winner in (([0, 1], 1), ([1, 0], 0), ([1, 1], 0), ([0, 2, 1], 1), ([2, 0], 0)):
        matched = assign_by_location(anchors, boxes[order], base_scale=4, topk=1)
        assert matched.tolist() == [winner]


def iou(a, b):
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    intersection = max(width, 0) * max(height, 0)
    areas = [(x[2] - x[0]) * (x[3] - x[1]) for x in (a, b)]
    return intersection / (sum(areas) - intersection) if intersection else 0.0


def naive_by_overlap(proposals, boxes, background_below, positive_from):
    ious = [[iou(p, box) for p in proposals.tolist()] for box in boxes.tolist()]
    matched = []
    for column in zip(*ious, strict=True):
        if max(column) >= positive_from:
            matched.append(column.index(max(column)))
        else:
            matched.append(BACKGROUND if max(column) < background_below else IGNORED)
    for m, row in enumerate(ious):
        for location, value in enumerate(row):
            if value == max(row) > 0:
                matched[location] = m
    return matched


@pytest.mark.parametrize("seed", range(4))
def test_the_second_stage_equals_a_plain_double(monkeypatch, seed):
    boxes = random_boxes(12, seed).double()
    generator = torch.Generator().manual_seed(seed)
    moved = boxes.repeat(20, 1)
    moved += torch.randn(moved.shape, generator=generator, dtype=torch.float64) * 12
    proposals = torch.cat([moved, moved[:5], random_boxes(50, seed + 9).double()])  # with equals
    expected = naive_by_overlap(proposals, boxes, 0.4, 0.5)
    assert {BACKGROUND, IGNORED} < set(expected)
    assert assign_by_overlap(proposals, boxes, **THRESHOLDS).tolist() == expected
    monkeypatch.setattr(box_geometry, "MAX_PAIRS", 1000)  # three objects each
    assert assign_by_overlap(proposals, boxes, **THRESHOLDS).tolist() == expected


def test_an_overlap_of_just_a_threshold_belongs_to_the_range_above():
    """The first proposal is the object's best; IoUs of 1/2 and 1/4 are exact."""
    proposals = torch.tensor([[0.0, 0, 8, 8], [0, 0, 8, 4], [0, 0, 4, 4], [0, 0, 4, 3]])
    matched = assign_by_overlap(proposals, proposals[:1], background_below=0.25, positive_from=0.5)
    assert matched.tolist() == [0, 0, IGNORED, BACKGROUND]


def test_the_best_proposal_is_an_objects_however_low_but_not_without_overlap():
    proposals = torch.tensor([[0.0, 0, 10, 10], [100, 100, 110, 110], [5, 5, 5, 5]])
    boxes = torch.tensor([[8.0, 8, 40, 40], [200, 200, 210, 210]])
    matched = assign_by_overlap(proposals, boxes, **THRESHOLDS)
    assert matched.tolist() == [0, BACKGROUND, BACKGROUND]


def test_a_proposal_that_is_the_best_of_two_objects_goes_to_the_last():
    boxes = torch.tensor([[0.0, 0, 10, 10], [0, 0, 20, 20]])
    matched = assign_by_overlap(torch.tensor([[0.0, 0, 10, 10]]), boxes, **THRESHOLDS)
    assert matched.tolist() == [1]


def test_without_objects_all_is_background():
    anchors, none = locations(), torch.zeros(0, 4)
    for matched in (
        assign_by_location(anchors, none, base_scale=4, topk=1),
        assign_by_overlap(torch.cat(anchors), none, **THRESHOLDS),
    ):
        assert (matched == BACKGROUND).all()
        assert matched.dtype == torch.int64
        assert len(matched) == 256 + 64 + 16


def test_positives_of_a_batch_carry_the_class_and_box_of_their_object():
    proposals = torch.stack([random_boxes(40, seed) for seed in range(3)])
    ground_truth = []
    for seed, count in enumerate((4, 0, 6)):
        instances = Instances((128, 128))
        instances.gt_boxes = Boxes(random_boxes(count, seed + 20))
        instances.gt_classes = torch.arange(count) * 10 + seed
        ground_truth.append(instances)
    assignments = torch.stack(
        [
            assign_by_overlap(image, instances.gt_boxes.tensor, **THRESHOLDS)
            for image, instances in zip(proposals, ground_truth, strict=True)
        ]
    )
    assert (assignments == IGNORED).any()
    positives = find_positives(ground_truth, assignments)
    found = []
    for n, instances in enumerate(ground_truth):
        boxes = instances.gt_boxes.tensor
        matched = enumerate(assignments[n].tolist())
        found += [(n, t, m * 10 + n, boxes[m].tolist()) for t, m in matched if m >= 0]
    assert list(zip(*(part.tolist() for part in positives), strict=True)) == found
    assert {n for n, *_ in found} == {0, 2}
