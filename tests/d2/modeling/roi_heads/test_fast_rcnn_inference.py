"""Detections out of scores and boxes of regions."""

import pytest
import torch

from dyhead.d2.modeling.roi_heads.fast_rcnn import fast_rcnn_inference


def infer(boxes, scores, threshold=0.1, nms=0.5, topk=10, size=(50, 50)):
    found, indices = fast_rcnn_inference([boxes], [scores], [size], threshold, nms, topk)
    return found[0], indices[0]


def test_inference_chooses_per_class():
    boxes = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 11], [30, 30, 70, 45]])
    scores = torch.tensor([[0.9, 0.3, 0.0], [0.8, 0.35, 0.0], [0.05, 0.6, 0.9]])
    found, indices = infer(boxes, scores)
    assert found.pred_classes.tolist() == [0, 1, 1]  # NMS within each class, background left out
    assert found.scores.tolist() == pytest.approx([0.9, 0.6, 0.35])
    assert indices.tolist() == [0, 2, 1]
    assert found.pred_boxes.tensor[1].tolist() == [30, 30, 50, 45]  # clipped
    assert len(infer(boxes, scores, topk=2)[0]) == 2
    assert len(infer(boxes, scores, topk=-1)[0]) == 3
    assert len(infer(boxes, scores, threshold=0.9)[0]) == 0  # scores have to be above it


def test_inference_with_boxes_of_each_class():
    boxes = torch.tensor([[0.0, 0, 10, 10, 20, 20, 30, 30]])
    found, _ = infer(boxes, torch.tensor([[0.4, 0.6, 0.0]]))
    assert found.pred_boxes.tensor.tolist() == [[20, 20, 30, 30], [0, 0, 10, 10]]
    assert found.pred_classes.tolist() == [1, 0]


def test_inference_drops_what_is_not_finite_and_takes_no_regions():
    boxes = torch.tensor([[0.0, 0, float("nan"), 10], [0, 0, 10, 10], [5, 5, 20, 20]])
    scores = torch.tensor([[0.9, 0.1], [float("inf"), 0.1], [0.5, 0.5]])
    assert infer(boxes, scores)[0].scores.tolist() == [0.5]
    for width in (4, 8):
        assert len(infer(torch.zeros(0, width), torch.zeros(0, 3))[0]) == 0
