"""Compares a detector's detections with those of a naive double."""

import torch


def assert_same_detections(outputs, expected):
    """Check the detections of every image, in their order.

    Args:
        outputs: what a detector returns.
        expected: for each image a list of more than three (score, class, box).
    """
    for output, reference in zip(outputs, expected, strict=True):
        found = output["instances"]
        assert len(found) == len(reference) > 3
        scores, classes, boxes = zip(*reference, strict=True)
        torch.testing.assert_close(found.scores, torch.tensor(scores))
        assert found.pred_classes.tolist() == list(classes)
        torch.testing.assert_close(
            found.pred_boxes.tensor, torch.tensor(boxes), rtol=1e-5, atol=1e-3
        )
