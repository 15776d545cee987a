"""Regions to train on, each with its object."""

import torch
from small_regions import SHAPES, SIZES, objects, regions, small_batch, small_config

from dyhead.d2.modeling.roi_heads import StandardROIHeads, select_foreground_proposals
from dyhead.d2.utils.events import EventStorage


def test_sampled_regions_carry_their_object():
    _, _, proposals, targets = small_batch()
    heads = StandardROIHeads(small_config(), SHAPES)
    with EventStorage() as storage:
        first, second = heads.label_and_sample_proposals(proposals, targets)
    # the objects' own boxes are appended; at most a quarter of 8 may have an object
    assert first.gt_classes.tolist().count(3) == 1  # the only region without an object
    assert len(first) == 3 and len(second) == 2
    for index, label in enumerate(first.gt_classes.tolist()):
        if label != 3:
            expected = targets[0].gt_boxes.tensor[targets[0].gt_classes == label][0]
            assert torch.equal(first.gt_boxes.tensor[index], expected)
    assert second.gt_classes.tolist() == [3, 3] and not second.has("gt_boxes")
    logged = {name: value for name, (value, _) in storage.latest().items()}
    assert logged == {"roi_head/num_fg_samples": 1.0, "roi_head/num_bg_samples": 1.5}


def test_own_boxes_of_objects_are_optional():
    _, _, proposals, targets = small_batch()
    heads = StandardROIHeads(small_config(**{"MODEL.ROI_HEADS.PROPOSAL_APPEND_GT": False}), SHAPES)
    none = [regions([]), regions([], SIZES[1])]
    with EventStorage():
        assert [len(s) for s in heads.label_and_sample_proposals(none, targets)] == [0, 0]
        appended = StandardROIHeads(small_config(), SHAPES)
        sampled = appended.label_and_sample_proposals(none, targets)
    assert sampled[0].gt_classes.sort()[0].tolist() == [0, 2] and len(sampled[1]) == 0


def test_ignored_regions_are_not_sampled():
    options = {
        "MODEL.ROI_HEADS.IOU_THRESHOLDS": [0.3, 0.9],
        "MODEL.ROI_HEADS.IOU_LABELS": [0, -1, 1],
        "MODEL.ROI_HEADS.PROPOSAL_APPEND_GT": False,
    }
    heads = StandardROIHeads(small_config(**options), SHAPES)
    proposals = [regions([[0, 0, 10, 10], [0, 0, 10, 15], [40, 40, 60, 60]])]
    with EventStorage():
        (sampled,) = heads.label_and_sample_proposals(proposals, [objects([[0.0, 0, 10, 10]], [1])])
    assert sorted(sampled.gt_classes.tolist()) == [1, 3]


def test_foreground():
    sampled = regions([[0, 0, 1, 1]] * 4)
    sampled.gt_classes = torch.tensor([3, 0, -1, 2])
    (kept,), (mask,) = select_foreground_proposals([sampled], bg_label=3)
    assert kept.gt_classes.tolist() == [0, 2]
    assert mask.tolist() == [False, True, False, True]
