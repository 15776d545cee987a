"""Non-maximum suppression as a mask, compared with torchvision's and with a naive double."""

import pytest
import torch
from torchvision.ops import box_iou

from dyhead.ops import non_max_suppression

THRESHOLD = 0.5


def make_boxes(pictures=2, count=40, seed=0):
    generator = torch.Generator().manual_seed(seed)
    corners = torch.rand(pictures, count, 2, generator=generator) * 40
    sides = 10 + torch.rand(pictures, count, 2, generator=generator) * 30
    scores = torch.rand(pictures, count, generator=generator)
    classes = torch.randint(0, 3, (pictures, count), generator=generator)
    return torch.cat((corners, corners + sides), dim=-1), scores, classes


def naive(boxes, scores, classes):
    """One picture: whoever is best stays, and takes those of its class that overlap it away."""
    kept = torch.zeros(len(boxes), dtype=torch.bool)
    left = {i for i in range(len(boxes)) if scores[i] >= 0}
    overlaps = box_iou(boxes, boxes)
    while left:
        best = max(left, key=lambda i: scores[i])
        kept[best] = True
        left -= {i for i in left if classes[i] == classes[best] and overlaps[i, best] > THRESHOLD}
        left -= {best}
    return kept


def test_it_keeps_what_a_naive_suppression_keeps():
    boxes, scores, classes = make_boxes()
    kept = non_max_suppression(boxes, scores, classes, 3, THRESHOLD)
    expected = torch.stack([naive(*each) for each in zip(boxes, scores, classes, strict=True)])
    assert torch.equal(kept, expected)
    assert 0 < kept.sum() < kept.numel()


def test_what_is_no_candidate_neither_stays_nor_suppresses():
    boxes, scores, classes = make_boxes()
    scores[:, ::3] = -1
    kept = non_max_suppression(boxes, scores, classes, 3, THRESHOLD)
    expected = torch.stack([naive(*each) for each in zip(boxes, scores, classes, strict=True)])
    assert not kept[:, ::3].any()
    assert torch.equal(kept, expected)


@pytest.mark.parametrize("pictures", [0, 1])
def test_pictures_without_candidates_are_fine(pictures):
    boxes, scores, classes = make_boxes(pictures)
    assert not non_max_suppression(boxes, -scores - 1, classes, 3, THRESHOLD).any()


def test_the_operator_keeps_the_rules():
    arguments = (*make_boxes(), 3, THRESHOLD)
    torch.library.opcheck(torch.ops.dyhead.non_max_suppression.default, arguments)
