"""The assignment against a double that goes through locations and objects one by one."""

import importlib.util
import math
import types

import plain_double as double
import pytest
import torch

from dyhead.d2.layers import ShapeSpec
from dyhead.modeling.meta_arch import fcos_assignment
from dyhead.modeling.meta_arch.assignment import BACKGROUND
from dyhead.modeling.meta_arch.fcos_assignment import assign_locations
from dyhead.modeling.meta_arch.locations import build_location_generator

STRIDES = (8, 16, 32)
LIMITS = [64.0, 128.0]


def grid_of_locations(height, width, strides=STRIDES):
    generator = build_location_generator([ShapeSpec(channels=1, stride=s) for s in strides])
    features = [torch.zeros(1, 1, math.ceil(height / s), math.ceil(width / s)) for s in strides]
    return [boxes.tensor for boxes in generator(features)]


def random_boxes(count, height, width, seed):
    generator = torch.Generator().manual_seed(seed)
    size = torch.tensor([width, height])
    middle = torch.rand(count, 2, generator=generator) * size
    extent = 4 + torch.rand(count, 2, generator=generator) ** 2 * size * 1.5
    return torch.cat([middle - extent / 2, middle + extent / 2], dim=1)


def naive_owner(location, stride, boxes, low, high, radius):
    """The smallest object that a location may answer for."""
    best, owner = math.inf, BACKGROUND
    for m, box in enumerate(boxes):
        sides = double.side_distances(location, box)
        offsets = [abs(a - b) for a, b in zip(location, double.center(box), strict=True)]
        central = radius <= 0 or max(offsets) < radius * stride
        if min(sides) > 0 and low <= max(sides) <= high and central and double.area(box) < best:
            best, owner = double.area(box), m
    return owner


def naive_assignment(levels, boxes, limits, radius):
    bounds = [0.0, *limits, math.inf]
    return [
        naive_owner(double.center(cell), cell[2] - cell[0], boxes.tolist(), low, high, radius)
        for level, low, high in zip(levels, bounds[:-1], bounds[1:], strict=True)
        for cell in level.tolist()
    ]


def assign(levels, boxes, limits=LIMITS, radius=1.5):
    return assign_locations(levels, boxes, level_limits=list(limits), center_sampling_radius=radius)


@pytest.mark.parametrize("radius", [0.0, 0.8, 1.5])
@pytest.mark.parametrize("seed", range(3))
def test_assignment_equals_the_naive_double(seed, radius):
    levels, boxes = grid_of_locations(150, 200), random_boxes(12, 150, 200, seed)
    matched = assign(levels, boxes, radius=radius)
    assert (matched != BACKGROUND).sum() > 8
    assert matched.tolist() == naive_assignment(levels, boxes, LIMITS, radius)


@pytest.mark.parametrize("block", [1, 100, 500])
def test_blocks_of_locations_change_nothing(block, monkeypatch):
    levels, boxes = grid_of_locations(150, 200), random_boxes(12, 150, 200, seed=3)
    expected = assign(levels, boxes)
    monkeypatch.setattr(fcos_assignment, "MAX_PAIRS", block)
    assert torch.equal(assign(levels, boxes), expected)


@pytest.mark.parametrize("limits", [[20.0, 40.0], [10.0, 1000.0], [0.0, 0.0]])
def test_limits_equal_the_naive_double(limits):
    levels, boxes = grid_of_locations(150, 200), random_boxes(12, 150, 200, seed=4)
    assert assign(levels, boxes, limits).tolist() == naive_assignment(levels, boxes, limits, 1.5)


def test_centre_sampling_leaves_out_the_border_of_a_box():
    levels = grid_of_locations(96, 96, strides=(8,))
    box = torch.tensor([[2.0, 2.0, 94.0, 94.0]])
    everywhere = assign(levels, box, limits=[], radius=0.0)
    central = assign(levels, box, limits=[], radius=1.5)
    assert (everywhere != BACKGROUND).sum() == 12 * 12
    rows, columns = (central.reshape(12, 12) == 0).nonzero(as_tuple=True)
    # The centre is a corner of four cells: 4 and 12 pixels away, but 12 is no less than 1.5 * 8.
    assert rows.tolist() == [5, 5, 6, 6] and columns.tolist() == [5, 6, 5, 6]


def test_of_two_objects_the_smaller_one_is_detected():
    levels = grid_of_locations(64, 64, strides=(8,))
    around, inside = [0.0, 0.0, 64.0, 60.0], [20.0, 20.0, 44.0, 44.0]
    for boxes in ([around, inside], [inside, around]):
        matched = assign(levels, torch.tensor(boxes), limits=[], radius=0.0).reshape(8, 8)
        assert (matched[3:5, 3:5] == boxes.index(inside)).all()
        assert (matched == boxes.index(around)).sum() == 64 - 8 - (matched[3:5, 3:5]).numel()


def test_an_object_between_two_levels_belongs_to_both():
    levels = grid_of_locations(128, 128, strides=(8, 16))
    for box, level, cell in (
        ([10.0, 10.0, 124.0, 120.0], 0, 7 * 16 + 7),  # from (60, 60) 64 pixels to the right
        ([2.0, 2.0, 120.0, 114.0], 1, 3 * 8 + 3),  # from (56, 56)
    ):
        parts = assign(levels, torch.tensor([box]), limits=[64.0], radius=0.0).split([256, 64])
        assert parts[level][cell] == 0


def test_a_box_without_area_is_assigned_to_no_location():
    boxes = torch.tensor([[20.0, 28.0, 20.0, 28.0], [12.0, 28.0, 60.0, 28.0]])
    matched = assign(grid_of_locations(64, 64), boxes, radius=0.0)
    assert (matched == BACKGROUND).all()


def test_an_image_without_objects_is_all_background():
    levels = grid_of_locations(64, 96)
    matched = assign(levels, torch.zeros(0, 4))
    assert matched.shape == (sum(map(len, levels)),) and matched.dtype == torch.int64
    assert (matched == BACKGROUND).all()


@pytest.mark.skipif(
    importlib.util.find_spec("detectron2") is None, reason="genuine Detectron2 is not importable"
)
@pytest.mark.parametrize("radius", [0.9, 1.5])
@pytest.mark.parametrize("seed", range(3))
def test_assignment_equals_detectron2s(seed, radius):
    from detectron2.modeling.meta_arch.fcos import FCOS
    from detectron2.structures import Boxes

    strides = (8, 16, 32, 64, 128)
    levels = grid_of_locations(500, 700, strides)
    # Detectron2 compares areas as 1e8 minus the area in float32, which is blind below 8.
    boxes = random_boxes(15, 500, 700, seed)
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(dim=1).sort().values
    assert areas.diff().min() > 8 and areas.max() < 1e7
    settings = types.SimpleNamespace(center_sampling_radius=radius)
    quality = FCOS._match_anchors(settings, Boxes(boxes), [Boxes(level) for level in levels])
    best, expected = quality.max(dim=0)
    expected[best < 1e-5] = BACKGROUND
    matched = assign(levels, boxes, [64.0, 128.0, 256.0, 512.0], radius)
    assert (expected != BACKGROUND).sum() > 20
    assert torch.equal(matched, expected)
