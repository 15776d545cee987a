"""The comparison of a file with its detector finds every difference, and none that is not there."""

import numpy as np
import pytest
import torch

from dyhead.d2.structures import Boxes, Instances
from dyhead.errors import UserError
from dyhead.export.check import Check, compare

BOXES = np.array([[4.0, 4, 30, 30], [10, 8, 50, 40], [20, 20, 60, 60]], dtype=np.float32)
SCORES = np.array([0.9, 0.8, 0.7], dtype=np.float32)
CLASSES = np.array([0, 1, 0])


class Double:
    """A detector and its graph, which always find the same."""

    with_nms = True

    def __init__(self, boxes=BOXES, classes=CLASSES):
        self.boxes, self.classes = boxes, classes

    def __call__(self, batch):
        found = Instances(
            (64, 64),
            pred_boxes=Boxes(torch.from_numpy(self.boxes)),
            scores=torch.from_numpy(SCORES),
            pred_classes=torch.from_numpy(self.classes),
        )
        return [{"instances": found} for _ in batch]


def check(boxes=BOXES, scores=SCORES, classes=CLASSES, pictures=1, double=None):
    """Compare with a file that finds these."""

    def session(images):
        fillers = np.zeros((2, 4), dtype=np.float32), np.zeros(2), np.full(2, -1)
        found = zip((boxes, scores, classes), fillers, strict=True)
        outputs = [np.stack([np.concatenate(parts)] * len(images)) for parts in found]
        return [*outputs, np.full(len(images), len(scores))]

    double = double or Double()
    return compare(double, double, session, [np.zeros((64, 48, 3), dtype=np.uint8)] * pictures)


def test_the_same_is_the_same_in_any_order():
    result = check(BOXES[::-1], SCORES[::-1], CLASSES[::-1])
    assert (result.pixels, result.score, result.unpartnered) == (0, 0, 0)
    assert result.compared == 9
    assert result.batches == [(1, 64, 48), (2, 48, 36)]
    result.require_equal("a.onnx")


def test_the_largest_differences_are_told():
    shift, change = np.zeros_like(BOXES), np.zeros_like(SCORES)
    shift[1, 2], change[2] = 0.5, -0.25
    result = check(BOXES + shift, SCORES + change)
    assert (result.pixels, result.score, result.unpartnered) == (0.5, 0.25, 0)


@pytest.mark.parametrize(("pixels", "score"), [(0.02, 0.0), (0.0, 2e-4)])
def test_a_difference_that_is_too_large_is_refused_with_its_size(pixels, score):
    result = check(BOXES + np.float32(pixels), SCORES + np.float32(score))
    with pytest.raises(UserError, match="a.onnx is not written.*2.0e-0"):
        result.require_equal("a.onnx")


def test_another_class_is_no_partner():
    result = check(classes=np.array([0, 2, 0]))
    assert (result.unpartnered, result.compared) == (6, 6)
    with pytest.raises(UserError, match="6 without a partner"):
        result.require_equal("a.onnx")


def test_a_decision_between_equals_that_fell_differently_is_no_fault():
    """Suppression may keep either of two boxes whose scores differ in the last digit."""
    result = Check(compared=50, unpartnered=2)
    result.require_equal("a.onnx")
    with pytest.raises(UserError, match="3 without"):
        Check(compared=50, unpartnered=3).require_equal("a.onnx")
    Check(compared=500, unpartnered=10).require_equal("a.onnx")


def test_each_detection_is_compared_once():
    """Two equal boxes of one class on one side do not both have the one on the other side."""
    twice = [0, 0, 1, 2]
    result = check(BOXES[twice], SCORES[twice], CLASSES[np.array([0, 0, 1, 2])])
    assert (result.compared, result.unpartnered) == (9, 3)


def test_equal_boxes_of_one_class_are_partners_by_their_scores():
    boxes, classes, order = BOXES[[0, 0, 1]], CLASSES[[0, 0, 1]], [1, 0, 2]
    double = Double(boxes, classes)
    result = check(boxes[order], SCORES[order], classes[order], double=double)
    assert (result.compared, result.unpartnered, result.score) == (9, 0, 0)


def test_without_suppression_every_scored_pair_of_anchor_and_class_is_compared():
    boxes = np.stack([BOXES] * 2)  # of one batch's two pictures, three anchors
    scores = np.array([[[0.9, 0.0], [0.0, 0.8], [0.7, 0.6]]] * 2, dtype=np.float32)

    def graph(images):
        return [torch.from_numpy(part[: len(images)]) for part in (boxes, scores)]

    def session(images):
        change = np.array([[0, 0], [0, -0.8], [0, 0.25]], dtype=np.float32)
        moved = boxes + np.array([0, 0, 0.5, 0], dtype=np.float32)
        return [part[: len(images)] for part in (moved, scores + change)]

    graph.with_nms = False
    result = compare(None, graph, session, [np.zeros((64, 48, 3), dtype=np.uint8)])
    assert (result.compared, result.unpartnered) == (3 * 3, 3)  # three pictures in two batches
    assert (result.pixels, result.score) == (0.5, 0.25)


@pytest.mark.parametrize("spoilt", [0, 1])
def test_a_file_that_gives_nan_is_refused(spoilt):
    scores = np.array([[[0.9, 0.0], [0.0, 0.8], [0.7, 0.6]]] * 2, dtype=np.float32)
    parts = [np.stack([BOXES] * 2), scores]

    def graph(images):
        return [torch.from_numpy(part[: len(images)]) for part in parts]

    def session(images):
        found = [part[: len(images)].copy() for part in parts]
        found[spoilt][found[spoilt] > 0] = np.nan
        return found

    graph.with_nms = False
    result = compare(None, graph, session, [np.zeros((64, 48, 3), dtype=np.uint8)])
    with pytest.raises(UserError, match="not written"):
        result.require_equal("a.onnx")


def test_nothing_found_proves_nothing():
    with pytest.raises(UserError, match="nothing is found.*--picture"):
        Check().require_equal("a.onnx")


def test_a_file_that_cannot_run_is_refused_by_the_size_of_the_pictures():
    def session(images):
        raise RuntimeError("no such shape\nat line 3")

    double = Double()
    with pytest.raises(UserError, match="1 pictures of 64 x 48: no such shape$"):
        compare(double, double, session, [np.zeros((64, 48, 3), dtype=np.uint8)])
