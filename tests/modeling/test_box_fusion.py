"""Weighted box fusion beside a double in plain Python, and by its properties."""

from typing import Any

import pytest
import torch
from torch import Tensor

from dyhead.modeling.box_fusion import fuse_boxes, rescale_scores


def overlap(a: list[float], b: list[float]) -> float:
    width = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
    height = max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    area = [(box[2] - box[0]) * (box[3] - box[1]) for box in (a, b)]
    return width * height / (sum(area) - width * height)


def weighted_mean(members: list[dict[str, Any]]) -> list[float]:
    total = sum(m["score"] for m in members)
    return [sum(m["score"] * m["box"][k] for m in members) / total for k in range(4)]


def fuse_naively(
    boxes: Tensor, scores: Tensor, classes: Tensor, threshold: float
) -> list[tuple[Any, ...]]:
    """(class, box, mean score, count) of each cluster, members listed and averaged anew."""
    detections = [
        {"box": box, "score": score, "class": class_}
        for box, score, class_ in zip(
            boxes.tolist(), scores.tolist(), classes.tolist(), strict=True
        )
    ]
    clusters: list[list[dict[str, Any]]] = []
    for detection in sorted(detections, key=lambda d: -d["score"]):
        best, best_overlap = None, threshold
        for cluster in clusters:
            if cluster[0]["class"] != detection["class"]:
                continue
            found = overlap(weighted_mean(cluster), detection["box"])
            if found > best_overlap:
                best, best_overlap = cluster, found
        if best is None:
            clusters.append([detection])
        else:
            best.append(detection)
    return sorted(
        (c[0]["class"], weighted_mean(c), sum(m["score"] for m in c) / len(c), len(c))
        for c in clusters
    )


def as_rows(fused: Any) -> list[tuple[Any, ...]]:
    parts = (fused.classes, fused.boxes, fused.scores, fused.counts)
    return sorted(zip(*(part.tolist() for part in parts), strict=True))


def jittered_boxes(seed: int, num_objects: int = 6, num_views: int = 5) -> tuple[Tensor, ...]:
    """Boxes of every object as several views would find them."""
    generator = torch.Generator().manual_seed(seed)
    corners = torch.rand(num_objects, 2, generator=generator, dtype=torch.float64) * 60
    sides = 10 + torch.rand(num_objects, 2, generator=generator, dtype=torch.float64) * 30
    objects = torch.cat([corners, corners + sides], dim=1).repeat(num_views, 1)
    boxes = objects + torch.randn(objects.shape, generator=generator, dtype=torch.float64) * 2
    scores = torch.rand(len(boxes), generator=generator, dtype=torch.float64)
    return boxes, scores, torch.arange(num_objects).remainder(3).repeat(num_views)


@pytest.mark.parametrize("threshold", [0.3, 0.55, 0.8])
@pytest.mark.parametrize("seed", range(4))
def test_equals_a_naive_double(seed: int, threshold: float) -> None:
    detections = jittered_boxes(seed)
    fused = fuse_boxes(*detections, threshold)
    expected = fuse_naively(*detections, threshold)
    assert 1 < len(expected) < len(detections[0])
    for found, wanted in zip(as_rows(fused), expected, strict=True):
        assert found[0] == wanted[0] and found[3] == wanted[3]
        assert found[1] == pytest.approx(wanted[1])
        assert found[2] == pytest.approx(wanted[2])


def test_order_does_not_matter() -> None:
    detections = jittered_boxes(seed=7)
    shuffled = [part.flip(0) for part in detections]
    torch.testing.assert_close(fuse_boxes(*shuffled, 0.5), fuse_boxes(*detections, 0.5))


def test_a_fused_box_is_weighted_by_the_scores() -> None:
    boxes = torch.tensor([[0.0, 0, 10, 10], [0, 0, 12, 10]])
    fused = fuse_boxes(boxes, torch.tensor([0.6, 0.2]), torch.tensor([4, 4]), 0.5)
    torch.testing.assert_close(fused.boxes, torch.tensor([[0.0, 0, 10.5, 10]]))
    torch.testing.assert_close(fused.scores, torch.tensor([0.4]))
    assert (fused.classes.tolist(), fused.counts.tolist()) == ([4], [2])


def test_classes_are_fused_apart() -> None:
    boxes = torch.tensor([[0.0, 0, 10, 10]]).expand(2, 4)
    fused = fuse_boxes(boxes, torch.tensor([0.6, 0.2]), torch.tensor([0, 1]), 0.5)
    assert fused.classes.tolist() == [0, 1]
    torch.testing.assert_close(fused.scores, torch.tensor([0.6, 0.2]))


def test_boxes_that_overlap_by_just_the_threshold_stay_apart() -> None:
    boxes = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 5]])
    classes = torch.zeros(2, dtype=torch.int64)
    assert len(fuse_boxes(boxes, torch.ones(2), classes, 0.5).boxes) == 2
    assert len(fuse_boxes(boxes, torch.ones(2), classes, 0.49).boxes) == 1


def test_the_best_overlap_decides() -> None:
    boxes = torch.tensor([[0.0, 0, 10, 10], [4, 0, 14, 10], [3, 0, 13, 10]])
    scores, classes = torch.tensor([0.9, 0.8, 0.7]), torch.zeros(3, dtype=torch.int64)
    assert fuse_boxes(boxes, scores, classes, 0.5).counts.tolist() == [1, 2]


def test_scores_of_zero_have_a_mean_too() -> None:
    boxes = torch.tensor([[0.0, 0, 10, 10], [0, 0, 12, 10]])
    fused = fuse_boxes(boxes, torch.zeros(2), torch.zeros(2, dtype=torch.int64), 0.5)
    torch.testing.assert_close(fused.boxes, torch.tensor([[0.0, 0, 11, 10]]))
    torch.testing.assert_close(fused.scores, torch.zeros(1))


def test_nothing_gives_nothing() -> None:
    fused = fuse_boxes(torch.empty(0, 4), torch.empty(0), torch.empty(0, dtype=torch.int64), 0.5)
    assert [len(part) for part in fused] == [0, 0, 0, 0]
    assert fused.boxes.shape == (0, 4)


def test_scores_are_lowered_by_the_views_that_missed_the_box() -> None:
    scores, counts = torch.full((4,), 0.8), torch.tensor([1, 3, 5, 1])
    rescaled = rescale_scores(scores, counts, torch.tensor([4, 4, 4, 0]))
    torch.testing.assert_close(rescaled, torch.tensor([0.2, 0.6, 0.8, 0.8]))
