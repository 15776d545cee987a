"""The embedded host's matching in blocks of objects against its Matcher on the whole matrix."""

import pytest
import torch
from embedded_host.modeling import block_matching
from embedded_host.modeling.block_matching import match_boxes
from embedded_host.modeling.matcher import Matcher
from embedded_host.structures import Boxes, pairwise_iou

NUM_ANCHORS = 400


def grid_boxes(count, seed):
    """Boxes with corners on a coarse grid: many are equal, many IoUs too; some are empty."""
    generator = torch.Generator().manual_seed(seed)
    corners = torch.randint(0, 12, (count, 2, 2), generator=generator).float() * 8
    return Boxes(torch.cat([corners.amin(dim=1), corners.amax(dim=1)], dim=1))


@pytest.mark.parametrize("max_pairs", [1, 3 * NUM_ANCHORS, 1 << 20])
@pytest.mark.parametrize("low_quality", [False, True])
@pytest.mark.parametrize(("thresholds", "labels"), [([0.3, 0.7], [0, -1, 1]), ([0.5], [-1, 1])])
def test_matches_are_those_of_the_matrix(monkeypatch, max_pairs, low_quality, thresholds, labels):
    monkeypatch.setattr(block_matching, "MAX_PAIRS", max_pairs)
    matcher = Matcher(thresholds, labels, allow_low_quality_matches=low_quality)
    for num_objects in (0, 1, 20):
        for num_anchors in (0, 1, NUM_ANCHORS):
            anchors = grid_boxes(num_anchors, num_objects)
            objects = grid_boxes(num_objects, num_anchors + 1)
            expected = matcher(pairwise_iou(objects, anchors))
            found = match_boxes(matcher, objects, anchors)
            for ours, theirs in zip(found, expected, strict=True):
                assert ours.dtype == theirs.dtype and torch.equal(ours, theirs)


def test_no_block_is_larger_than_asked_for(monkeypatch):
    monkeypatch.setattr(block_matching, "MAX_PAIRS", 3 * NUM_ANCHORS)
    sizes = []

    def watched(boxes1, boxes2):
        sizes.append(len(boxes1) * len(boxes2))
        return pairwise_iou(boxes1, boxes2)

    monkeypatch.setattr(block_matching, "pairwise_iou", watched)
    match_boxes(Matcher([0.5], [0, 1]), grid_boxes(10, 0), grid_boxes(NUM_ANCHORS, 1))
    assert sizes == [3 * NUM_ANCHORS] * 3 + [NUM_ANCHORS]


def test_a_matcher_of_another_class_gets_the_matrix():
    class Transposed(Matcher):
        def __call__(self, match_quality_matrix):
            return match_quality_matrix, match_quality_matrix.t()

    objects, anchors = grid_boxes(2, 0), grid_boxes(5, 1)
    matrix, _ = match_boxes(Transposed([0.5], [0, 1]), objects, anchors)
    assert torch.equal(matrix, pairwise_iou(objects, anchors))
