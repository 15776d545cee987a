"""Comparing two sets of detections whose order may differ where scores differ by rounding."""

import torch
from torch import Tensor

BOX_TOLERANCE = 1e-3  # pixels


def assert_same_detections(
    one: tuple[Tensor, Tensor, Tensor], other: tuple[Tensor, Tensor, Tensor], score_tolerance: float
) -> None:
    """Each detection of one image has one counterpart of its class, box and score.

    Args:
        one, other: boxes (D, 4) in pixels, scores (D,) and classes (D,).
        score_tolerance: absolute; that of boxes is 1e-3 pixel.
    """
    boxes, scores, classes = (part.double() for part in one)
    other_boxes, other_scores, other_classes = (part.double() for part in other)
    assert len(boxes) == len(other_boxes) > 5
    distance = (boxes[:, None] - other_boxes).abs().amax(-1)
    distance = distance + 1e6 * (classes[:, None] != other_classes)
    distance = distance + (scores[:, None] - other_scores).abs()  # tells equal boxes apart
    counterpart = distance.argmin(dim=1)
    assert len(counterpart.unique()) == len(boxes), "two detections have the same counterpart"
    assert torch.equal(classes, other_classes[counterpart])
    torch.testing.assert_close(boxes, other_boxes[counterpart], rtol=0, atol=BOX_TOLERANCE)
    torch.testing.assert_close(scores, other_scores[counterpart], rtol=0, atol=score_tolerance)
