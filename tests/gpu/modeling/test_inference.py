"""From scores to detections: NMS and the choice of candidates, on the device as on the CPU."""

import pytest
import torch
from gpu_cases import DEVICE, IS_REAL
from torch import Tensor

from dyhead.d2.layers import batched_nms
from dyhead.modeling.meta_arch import dense_inference
from dyhead.modeling.meta_arch.dense_inference import EMPTY, Candidates, detect, select_candidates

# The last count is too large for torchvision to tell classes apart by offsets.
COUNTS = (0, 1, 300, 4000, 30_000) if IS_REAL else (0, 1, 300)
IOU_THRESHOLD = 0.613
IMAGE = (800, 1344)


def random_boxes(count: int, num_classes: int, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Groups of boxes around objects, scores without ties, and classes.

    Corners are whole, so that no device has to round: NMS tells classes apart by large offsets to
    the boxes, and fractions would suffer.
    """
    generator = torch.Generator().manual_seed(seed)
    num_objects = 1 + count // 4
    objects = torch.rand(num_objects, 4, generator=generator) * torch.tensor([*IMAGE, 200, 200])
    objects = objects + torch.tensor([0, 0, 20, 20])  # X, Y, width, height
    chosen = torch.randint(0, num_objects, (count,), generator=generator)
    found = objects[chosen] + 10 * torch.rand(count, 4, generator=generator)
    boxes = torch.cat([found[:, :2], found[:, :2] + found[:, 2:]], dim=1).round()
    scores = (1 + torch.randperm(count, generator=generator)) / (count + 1)
    return boxes, scores, (chosen * 7) % num_classes


def suppressed_naively(boxes: Tensor, scores: Tensor, classes: Tensor) -> list[int]:
    """Greedy NMS box by box, in float64."""
    kept: list[int] = []
    boxes = boxes.double()
    for index in scores.argsort(descending=True).tolist():
        rivals = [k for k in kept if classes[k] == classes[index]]
        if not rivals or overlaps(boxes[index], boxes[rivals]).max() <= IOU_THRESHOLD:
            kept.append(index)
    return kept


def overlaps(box: Tensor, others: Tensor) -> Tensor:
    """IoUs of a box with others."""
    sides = torch.minimum(box[2:], others[:, 2:]) - torch.maximum(box[:2], others[:, :2])
    both = sides.clamp(min=0).prod(dim=1)
    return both / ((box[2:] - box[:2]).prod() + (others[:, 2:] - others[:, :2]).prod(1) - both)


@pytest.mark.parametrize("num_classes", [1, 80, 1203])
@pytest.mark.parametrize("count", COUNTS)
def test_nms_keeps_the_boxes_that_it_keeps_on_the_cpu(count: int, num_classes: int) -> None:
    found = random_boxes(count, num_classes)
    expected = batched_nms(*found, IOU_THRESHOLD)
    kept = batched_nms(*(tensor.to(DEVICE) for tensor in found), IOU_THRESHOLD)
    assert kept.device.type == DEVICE.type
    assert torch.equal(kept.cpu(), expected)
    assert len(kept) == count if count < 2 else 0 < len(kept) < count
    if 0 < count <= 300:
        assert kept.tolist() == suppressed_naively(*found)


def test_nms_of_short_boxes_on_the_device() -> None:
    boxes, scores, classes = (tensor.to(DEVICE) for tensor in random_boxes(300, 3))
    short = boxes.to(torch.bfloat16)
    expected = batched_nms(short.float(), scores, classes, IOU_THRESHOLD)
    assert torch.equal(batched_nms(short, scores, classes, IOU_THRESHOLD), expected)


def random_level(num_anchors: int, num_classes: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(num_anchors)
    scores = torch.rand(num_anchors, num_classes, generator=generator)
    return scores, torch.rand(num_anchors, generator=generator)


def as_set(scores: Tensor, anchors: Tensor, classes: Tensor) -> set[tuple[float, int, int]]:
    found = zip(scores.tolist(), anchors.tolist(), classes.tolist(), strict=True)
    return {candidate for candidate in found if candidate[0] != EMPTY}


@pytest.mark.parametrize("with_quality", [False, True])
@pytest.mark.parametrize("threshold", [0.05, 0.97, 1.0])
@pytest.mark.parametrize("num_anchors", [0, 1, 20_000 if IS_REAL else 60])
def test_both_forms_choose_what_the_cpu_chooses(
    num_anchors: int, threshold: float, with_quality: bool
) -> None:
    scores, quality = random_level(num_anchors, num_classes=5)
    arguments = scores, quality if with_quality else None, threshold, 1000
    expected = as_set(*select_candidates(*arguments))
    scores, quality = scores.to(DEVICE), quality.to(DEVICE)
    arguments = scores, quality if with_quality else None, threshold, 1000
    fixed = dense_inference._select_from_all(*arguments, True)
    passing = dense_inference._select_from_passing(*arguments, True)
    assert as_set(*fixed) == as_set(*passing) == expected
    assert len(fixed[0]) == min(1000, scores.numel())
    chosen = select_candidates(*arguments)
    assert len(chosen[0]) == len(fixed[0] if IS_REAL else passing[0])
    assert as_set(*chosen) == expected


@pytest.mark.parametrize("clip", [False, True])
def test_detections_of_candidates(clip: bool) -> None:
    levels = []
    for count, seed in ((300, 1), (1, 2), (0, 3), (50, 4)):
        boxes, scores, classes = random_boxes(count, 3, seed)
        scores = scores + 0.001 * seed  # without ties
        scores = torch.where(scores > 0.3, scores, EMPTY)
        levels.append(Candidates(boxes, scores, classes, torch.arange(count)))
    settings = {"image_size": IMAGE, "iou_threshold": IOU_THRESHOLD, "max_detections": 40}
    expected = detect(levels, clip_before_nms=clip, **settings)
    moved = [Candidates(*(tensor.to(DEVICE) for tensor in level)) for level in levels]
    found = detect(moved, clip_before_nms=clip, **settings)
    assert 10 < len(found) == len(expected)
    assert torch.equal(found.pred_boxes.tensor.cpu(), expected.pred_boxes.tensor)
    assert torch.equal(found.scores.cpu(), expected.scores)
    assert torch.equal(found.pred_classes.cpu(), expected.pred_classes)
    assert torch.equal(found.pred_anchors.cpu(), expected.pred_anchors)
