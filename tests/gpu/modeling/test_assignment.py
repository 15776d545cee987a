"""Anchors are assigned to objects on the device as on the CPU, to the last one."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import pytest
import torch
from embedded_host.modeling.block_matching import match_boxes
from embedded_host.modeling.matcher import Matcher as EmbeddedMatcher
from embedded_host.modeling.sampling import subsample_labels
from embedded_host.structures import Boxes as EmbeddedBoxes
from gpu_cases import DEVICE, IMAGE, level_sizes
from torch import Tensor

from dyhead.d2.layers import ShapeSpec
from dyhead.d2.modeling.anchor_generator import DefaultAnchorGenerator
from dyhead.d2.modeling.matcher import Matcher
from dyhead.d2.structures import Boxes, Instances, pairwise_iou
from dyhead.modeling.meta_arch.atss_assignment import assign_anchors
from dyhead.modeling.meta_arch.fcos_assignment import assign_locations
from dyhead.modeling.meta_arch.locations import build_location_generator
from dyhead.modeling.meta_arch.overlaps import match_in_blocks
from dyhead.modeling.meta_arch.reppoints_assignment import (
    assign_by_location,
    assign_by_overlap,
    find_refined_positives,
)

COUNTS = (0, 1, 60)  # objects in an image
MAPS = [torch.zeros(1, 1, *size) for size in level_sizes(IMAGE)]
STRIDES = [8 * 2**level for level in range(len(MAPS))]
GENERATORS = {
    "anchors": DefaultAnchorGenerator(
        sizes=[[8.0 * stride] for stride in STRIDES],
        aspect_ratios=[[1.0]],
        strides=STRIDES,
        offset=0.5,
    ),
    "locations": build_location_generator([ShapeSpec(channels=1, stride=s) for s in STRIDES]),
}
THRESHOLDS = {"background_below": 0.4, "positive_from": 0.5}
RULES: dict[str, tuple[str, Callable[[list[Tensor], Tensor], Tensor]]] = {
    "ATSS": ("anchors", partial(assign_anchors, candidates_per_level=9)),
    "FCOS": (
        "locations",
        partial(
            assign_locations,
            level_limits=[8.0 * stride for stride in STRIDES[:-1]],
            center_sampling_radius=1.5,
        ),
    ),
    "RepPoints, points": ("locations", partial(assign_by_location, base_scale=4.0, topk=3)),
    "RepPoints, boxes": (
        "anchors",
        lambda levels, boxes: assign_by_overlap(torch.cat(levels), boxes, **THRESHOLDS),
    ),
}
MATCHERS = {
    "RetinaNet": ([0.4, 0.5], [0, -1, 1], True),
    "RPN": ([0.3, 0.7], [0, -1, 1], True),
    "Fast R-CNN": ([0.5], [0, 1], False),
}


def random_boxes(count: int, seed: int) -> Tensor:
    """Boxes that reach outside the image, no two alike."""
    generator = torch.Generator().manual_seed(seed)
    size = torch.tensor([IMAGE[1], IMAGE[0]])
    middle = torch.rand(count, 2, generator=generator) * size
    extent = 4 + torch.rand(count, 2, generator=generator) ** 2 * size
    return torch.cat([middle - extent / 2, middle + extent / 2], dim=1)


def grid_boxes(count: int, seed: int) -> Tensor:
    """Boxes with corners on a coarse grid: many are equal, many IoUs too; some are empty."""
    generator = torch.Generator().manual_seed(seed)
    corners = torch.randint(0, 12, (count, 2, 2), generator=generator).float() * 8
    return torch.cat([corners.amin(dim=1), corners.amax(dim=1)], dim=1)


def moved(value: Any) -> Any:
    """The value with its tensors on the device."""
    if isinstance(value, list):
        return [moved(part) for part in value]
    return value.to(DEVICE) if hasattr(value, "to") else value


def assert_same(function: Callable[..., Any], *arguments: Any) -> Sequence[Tensor]:
    """The function gives tensors on the device as on the CPU; return the latter."""
    expected, found = function(*arguments), function(*moved(list(arguments)))
    expected = [expected] if isinstance(expected, Tensor) else expected
    found = [found] if isinstance(found, Tensor) else found
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.device.type == DEVICE.type and ours.dtype == theirs.dtype
        assert torch.equal(ours.cpu(), theirs)
    return expected


@pytest.mark.parametrize("name", GENERATORS)
def test_anchors(name: str) -> None:
    assert_same(lambda *maps: _anchors_of(name, maps), *MAPS)


def _anchors_of(name: str, maps: Sequence[Tensor]) -> list[Tensor]:
    generator = GENERATORS[name].to(maps[0].device)
    try:
        return [boxes.tensor for boxes in generator(list(maps))]
    finally:
        generator.cpu()


@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("rule", RULES)
def test_dense_assignments(rule: str, count: int) -> None:
    generator, assign = RULES[rule]
    levels = _anchors_of(generator, MAPS)
    (matched,) = assert_same(assign, levels, random_boxes(count, seed=count))
    assert (matched >= 0).any() == (count > 1) or count == 1  # one may be too narrow


def test_refined_positives_of_several_images() -> None:
    proposals = torch.stack([random_boxes(400, seed) for seed in (1, 2, 3)])
    gt_instances = []
    for count, seed in ((5, 1), (0, 2), (60, 3)):
        objects = Instances(IMAGE)
        objects.gt_boxes = Boxes(proposals[seed - 1, :count] + 2.5)
        objects.gt_classes = torch.arange(count) % 7
        gt_instances.append(objects)

    def find(gt_instances: list[Instances], proposals: Tensor) -> list[Tensor]:
        positives, ignored = find_refined_positives(gt_instances, proposals, **THRESHOLDS)
        return [*positives, ignored]

    images, *_ = assert_same(find, gt_instances, proposals)
    assert set(images.tolist()) == {0, 2}


@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("name", MATCHERS)
@pytest.mark.parametrize("boxes", [random_boxes, grid_boxes])
def test_matching_by_overlap(name: str, count: int, boxes: Callable[..., Tensor]) -> None:
    thresholds, labels, allow_low_quality = MATCHERS[name]
    objects, anchors = boxes(count, 1), boxes(500, 2)
    matcher = Matcher(thresholds, labels, allow_low_quality_matches=allow_low_quality)
    embedded = EmbeddedMatcher(thresholds, labels, allow_low_quality_matches=allow_low_quality)

    def by_matrix(objects: Tensor, anchors: Tensor) -> tuple[Tensor, Tensor]:
        return matcher(pairwise_iou(Boxes(objects), Boxes(anchors)))

    def by_blocks(objects: Tensor, anchors: Tensor) -> tuple[Tensor, Tensor]:
        return match_in_blocks(matcher, anchors, objects)

    def by_blocks_of_the_host(objects: Tensor, anchors: Tensor) -> tuple[Tensor, Tensor]:
        return match_boxes(embedded, EmbeddedBoxes(objects), EmbeddedBoxes(anchors))

    expected = assert_same(by_matrix, objects, anchors)
    for function in (by_blocks, by_blocks_of_the_host):
        for ours, theirs in zip(assert_same(function, objects, anchors), expected, strict=True):
            assert torch.equal(ours, theirs)


def test_samples_are_drawn_on_the_device_as_many_as_asked_for() -> None:
    labels = torch.tensor([1] * 40 + [0] * 200 + [-1] * 60)[torch.randperm(300)].to(DEVICE)
    positives, negatives = subsample_labels(labels, 64, 0.5, 0)
    assert positives.device.type == negatives.device.type == DEVICE.type
    assert (len(positives.unique()), len(negatives.unique())) == (32, 32)
    assert (labels[positives] == 1).all() and (labels[negatives] == 0).all()
