"""Matching in blocks of objects against the host's Matcher on the whole matrix of IoUs."""

import pytest
import torch

from dyhead.d2.modeling.matcher import Matcher
from dyhead.d2.structures import Boxes, Instances, pairwise_iou
from dyhead.modeling.meta_arch import DyHeadRetinaNet, overlaps
from dyhead.modeling.meta_arch.overlaps import find_overlaps, match_in_blocks
from dyhead.modeling.meta_arch.positives import BACKGROUND

NUM_ANCHORS = 400


def grid_boxes(count, seed, extent=12):
    """Boxes with corners on a coarse grid: many are equal, many IoUs too; some are empty."""
    generator = torch.Generator().manual_seed(seed)
    corners = torch.randint(0, extent, (count, 2, 2), generator=generator).float() * 8
    return torch.cat([corners.amin(dim=1), corners.amax(dim=1)], dim=1)


@pytest.fixture(params=[1, 3 * NUM_ANCHORS, 1 << 20], ids=["one object", "three", "all"])
def block(request, monkeypatch):
    """How many objects go into a block."""
    monkeypatch.setattr(overlaps, "MAX_BLOCK", request.param)


@pytest.mark.parametrize("low_quality", [False, True])
@pytest.mark.parametrize("num_objects", [0, 1, 2, 20])
@pytest.mark.parametrize(("thresholds", "labels"), [([0.4, 0.5], [0, -1, 1]), ([0.3], [-1, 1])])
@pytest.mark.usefixtures("block")
def test_matches_are_those_of_the_matrix(num_objects, low_quality, thresholds, labels):
    matcher = Matcher(thresholds, labels, allow_low_quality_matches=low_quality)
    for seed in range(5):
        anchors, boxes = grid_boxes(NUM_ANCHORS, seed), grid_boxes(num_objects, seed + 50)
        expected = matcher(pairwise_iou(Boxes(boxes), Boxes(anchors)))
        found = match_in_blocks(matcher, anchors, boxes)
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


@pytest.mark.parametrize("everything", [False, True])
def test_who_overlaps_nothing_claims_everything_or_nothing(everything):
    anchors = torch.tensor([[0.0, 0, 4, 4], [4, 4, 8, 8]])
    boxes = torch.tensor([[0.0, 0, 4, 4], [50, 50, 60, 60]])
    claimed = find_overlaps(anchors, boxes, claim_without_overlap=everything).claimed
    assert claimed.tolist() == ([1, 1] if everything else [0, BACKGROUND])


def objects_of(boxes, num_classes):
    instances = Instances((96, 96))
    instances.gt_boxes = Boxes(boxes)
    instances.gt_classes = torch.arange(len(boxes)) % num_classes
    return instances


def build_retinanet(cfg):
    cfg.MODEL.META_ARCHITECTURE = "DyHeadRetinaNet"
    cfg.MODEL.RETINANET.NUM_CLASSES = 3
    cfg.MODEL.RETINANET.NUM_CONVS = 1
    return DyHeadRetinaNet(cfg)


@pytest.mark.parametrize("num_objects", [0, 1, 30])
def test_retinanet_labels_anchors_as_the_hosts_does(cfg, monkeypatch, num_objects):
    detector = build_retinanet(cfg)
    levels = [Boxes(grid_boxes(300, 1)), Boxes(grid_boxes(100, 2))]
    truth = [objects_of(grid_boxes(num_objects, 9), 3), objects_of(grid_boxes(5, 8), 3)]
    host_labels, host_boxes = super(DyHeadRetinaNet, detector).label_anchors(levels, truth)
    monkeypatch.setattr(overlaps, "MAX_BLOCK", 1000)
    labels, boxes = detector.label_anchors(levels, truth)
    for image in range(2):
        assert torch.equal(labels[image], host_labels[image])
        assert labels[image].dtype == host_labels[image].dtype
        positive = (labels[image] >= 0) & (labels[image] < 3)
        assert positive.any() or num_objects == 0
        assert torch.equal(boxes[image][positive], host_boxes[image][positive])


def test_a_matcher_with_its_own_rules_gets_the_matrix(cfg):
    class EveryAnchor(Matcher):
        def __call__(self, match_quality_matrix):
            matches, labels = super().__call__(match_quality_matrix)
            return matches, torch.ones_like(labels)

    detector = build_retinanet(cfg)
    detector.anchor_matcher = EveryAnchor([0.5], [0, 1])
    (labels,), _ = detector.label_anchors(
        [Boxes(grid_boxes(50, 1))], [objects_of(grid_boxes(2, 3), 1)]
    )
    assert labels.tolist() == [0] * 50  # all of them have to detect an object of class 0
