"""Matching in blocks of objects against the host's Matcher on the whole matrix of IoUs."""

import pytest
import torch

from dyhead import box_geometry
from dyhead.box_geometry import NOBODY, find_overlaps, match_boxes
from dyhead.d2.modeling.matcher import Matcher
from dyhead.d2.structures import Boxes, pairwise_iou

NUM_ANCHORS = 400


def grid_boxes(count, seed):
    """Boxes with corners on a coarse grid: many are equal, many IoUs too; some are empty."""
    generator = torch.Generator().manual_seed(seed)
    corners = torch.randint(0, 12, (count, 2, 2), generator=generator).float() * 8
    return torch.cat([corners.amin(dim=1), corners.amax(dim=1)], dim=1)


@pytest.fixture(params=[1, 3 * NUM_ANCHORS, 1 << 20], ids=["one object", "three", "all"])
def block(request, monkeypatch):
    """Blocks of so many objects."""
    monkeypatch.setattr(box_geometry, "MAX_PAIRS", request.param)


@pytest.mark.parametrize("low_quality", [False, True])
@pytest.mark.parametrize("num_objects", [0, 1, 2, 20])
@pytest.mark.parametrize("num_anchors", [0, 1, NUM_ANCHORS])
@pytest.mark.parametrize(("thresholds", "labels"), [([0.4, 0.5], [0, -1, 1]), ([0.3], [-1, 1])])
@pytest.mark.usefixtures("block")
def test_matches_are_those_of_the_matrix(num_objects, num_anchors, low_quality, thresholds, labels):
    matcher = Matcher(thresholds, labels, allow_low_quality_matches=low_quality)
    for seed in range(5):
        anchors, boxes = grid_boxes(num_anchors, seed), grid_boxes(num_objects, seed + 50)
        expected = matcher(pairwise_iou(Boxes(boxes), Boxes(anchors)))
        found = match_boxes(matcher, boxes, anchors, Matcher)
        for ours, theirs in zip(found, expected, strict=True):
            assert ours.dtype == theirs.dtype and torch.equal(ours, theirs)


@pytest.mark.usefixtures("block")
def test_ious_are_those_of_the_host_to_the_last_bit():
    generator = torch.Generator().manual_seed(0)
    corners = torch.rand(NUM_ANCHORS + 30, 2, 2, generator=generator) * 100
    boxes = torch.cat([corners.amin(dim=1), corners.amax(dim=1)], dim=1)
    anchors, objects = boxes[30:], boxes[:30]
    matrix = pairwise_iou(Boxes(objects), Boxes(anchors))
    found = find_overlaps(anchors, objects, claim_without_overlap=False)
    assert torch.equal(found.highest, matrix.amax(dim=0))
    assert torch.equal(found.nearest, matrix.max(dim=0).indices)


def test_no_block_is_larger_than_asked_for(monkeypatch):
    monkeypatch.setattr(box_geometry, "MAX_PAIRS", 3 * NUM_ANCHORS)
    sizes, compute = [], box_geometry.aligned_iou

    def watched(boxes1, boxes2):
        sizes.append(len(boxes1) * len(boxes2))
        return compute(boxes1, boxes2)

    monkeypatch.setattr(box_geometry, "aligned_iou", watched)
    match_boxes(Matcher([0.5], [0, 1]), grid_boxes(10, 0), grid_boxes(NUM_ANCHORS, 1), Matcher)
    assert sizes == [3 * NUM_ANCHORS] * 3 + [NUM_ANCHORS]


@pytest.mark.parametrize("everything", [False, True])
def test_who_overlaps_nothing_claims_everything_or_nothing(everything):
    anchors = torch.tensor([[0.0, 0, 4, 4], [4, 4, 8, 8]])
    boxes = torch.tensor([[0.0, 0, 4, 4], [50, 50, 60, 60]])
    claimed = find_overlaps(anchors, boxes, claim_without_overlap=everything).claimed
    assert claimed.tolist() == ([1, 1] if everything else [0, NOBODY])


def test_a_matcher_with_its_own_rules_gets_the_matrix():
    class Transposed(Matcher):
        def __call__(self, match_quality_matrix):
            return match_quality_matrix, match_quality_matrix.t()

    boxes, anchors = grid_boxes(2, 0), grid_boxes(5, 1)
    matrix, _ = match_boxes(Transposed([0.5], [0, 1]), boxes, anchors, Matcher)
    assert torch.equal(matrix, pairwise_iou(Boxes(boxes), Boxes(anchors)))
