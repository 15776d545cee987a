"""Detections become labels from their class's threshold on, where a pixel of each side is left."""

from pathlib import Path

import pytest
import torch

from dyhead.d2.structures import Boxes, Instances
from dyhead.pseudo_labels.categories import LabelledCategory
from dyhead.pseudo_labels.collector import LabelCollector

IMAGE = {"file_name": "/new/a/1.png", "image_id": 4, "width": 60, "height": 40}


def collect(boxes: list[list[float]], scores: list[float]) -> LabelCollector:
    collector = LabelCollector(Path("/new"), [LabelledCategory(7, "cat", 0.5)])
    found = Instances((40, 60), pred_boxes=Boxes(torch.tensor(boxes)))
    found.scores = torch.tensor(scores)
    found.pred_classes = torch.zeros(len(boxes), dtype=torch.int64)
    collector.process([IMAGE], [{"instances": found}])
    return collector


def test_a_score_of_just_the_threshold_is_enough() -> None:
    collector = collect([[2.0, 3, 12, 8]] * 3, [0.25, 0.5, 0.75])
    assert [label["score"] for label in collector.annotations] == [0.5, 0.75]
    assert collector.highest_score == 0.75
    assert collector.images == [{"id": 4, "file_name": "a/1.png", "width": 60, "height": 40}]


@pytest.mark.parametrize("box", [[2.0, 3, 3, 8], [2, 3, 8, 4], [59, 3, 80, 8], [-9, -9, -2, -2]])
def test_a_box_of_a_pixel_or_less_within_the_image_is_no_label(box: list[float]) -> None:
    collector = collect([box], [0.9])
    assert not collector.annotations and not collector.images
