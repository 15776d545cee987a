"""Locations and the distances predicted at them, against loops and Detectron2's own transform."""

import importlib.util
import math

import pytest
import torch

from dyhead.d2.layers import ShapeSpec
from dyhead.modeling.meta_arch.locations import DistanceTransform, build_location_generator

STRIDES = (8, 16, 12)


@pytest.fixture
def locations():
    generator = build_location_generator([ShapeSpec(channels=4, stride=s) for s in STRIDES])
    features = [torch.zeros(2, 4, 3, 5), torch.zeros(2, 4, 2, 3), torch.zeros(2, 4, 1, 1)]
    return [level.tensor for level in generator(features)]


def test_locations_are_the_middles_of_the_cells_row_by_row(locations):
    for level, stride, (height, width) in zip(
        locations, STRIDES, [(3, 5), (2, 3), (1, 1)], strict=True
    ):
        cells = [
            [x * stride, y * stride, (x + 1) * stride, (y + 1) * stride]
            for y in range(height)
            for x in range(width)
        ]
        assert level.tolist() == cells


def naive_box(numbers, cell, normalize):
    x, y, stride = (cell[0] + cell[2]) / 2, (cell[1] + cell[3]) / 2, cell[2] - cell[0]
    if normalize:
        left, top, right, bottom = (max(number, 0) * stride for number in numbers)
    else:
        left, top, right, bottom = (math.exp(number) for number in numbers)
    return [x - left, y - top, x + right, y + bottom]


@pytest.mark.parametrize("normalize", [True, False])
def test_boxes_equal_the_naive_double(locations, normalize):
    cells = torch.cat(locations)
    numbers = torch.randn(len(cells), 4, generator=torch.Generator().manual_seed(0)) * 2
    boxes = DistanceTransform(normalize).apply_deltas(numbers, cells)
    expected = [
        naive_box(row, cell, normalize)
        for row, cell in zip(numbers.tolist(), cells.tolist(), strict=True)
    ]
    torch.testing.assert_close(boxes, torch.tensor(expected))


@pytest.mark.parametrize("normalize", [True, False])
def test_no_prediction_is_too_large_and_none_turns_a_box_inside_out(normalize):
    numbers = torch.tensor([[-50.0, 80.0, 300.0, -1.0]], dtype=torch.float16, requires_grad=True)
    boxes = DistanceTransform(normalize).apply_deltas(numbers, torch.tensor([[0.0, 0, 8, 8]]))
    assert boxes.dtype == torch.float32
    assert boxes.isfinite().all() and (boxes[0, 2:] >= boxes[0, :2]).all()
    boxes.sum().backward()
    assert numbers.grad.isfinite().all()


def test_no_locations_give_no_boxes():
    nothing = torch.zeros(0, 4)
    assert DistanceTransform().apply_deltas(nothing, nothing).shape == (0, 4)


@pytest.mark.skipif(
    importlib.util.find_spec("detectron2") is None, reason="genuine Detectron2 is not importable"
)
def test_boxes_equal_detectron2s(locations):
    from detectron2.modeling.box_regression import Box2BoxTransformLinear

    cells = torch.cat(locations)
    numbers = torch.randn(len(cells), 4, generator=torch.Generator().manual_seed(1))
    expected = Box2BoxTransformLinear(normalize_by_size=True).apply_deltas(numbers, cells)
    torch.testing.assert_close(DistanceTransform(True).apply_deltas(numbers, cells), expected)
