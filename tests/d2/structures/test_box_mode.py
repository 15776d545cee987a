"""Conversion between box formats."""

import json
import math

import numpy as np
import pytest
import torch

from dyhead.d2.structures import BoxMode

ROTATED = [[50, 50, 30, 20, 0], [50, 50, 30, 20, 90], [1, 1, math.sqrt(2), math.sqrt(2), -45]]
UPRIGHT = [[35, 40, 65, 60], [40, 35, 60, 65], [0, 0, 2, 2]]


@pytest.mark.parametrize("kind", [list, tuple])
def test_one_box_keeps_its_container(kind):
    box = kind([5.0, 5.0, 10.0, 10.0])
    converted = BoxMode.convert(box, BoxMode.XYXY_ABS, BoxMode.XYWH_ABS)
    assert converted == kind([5.0, 5.0, 5.0, 5.0])
    assert isinstance(converted, kind)
    assert isinstance(converted[0], float)


@pytest.mark.parametrize("make", [np.asarray, torch.tensor])
@pytest.mark.parametrize("dtype", ["int64", "float32", "float64"])
def test_arrays_keep_type_and_stay_unchanged(make, dtype):
    kind = getattr(np if make is np.asarray else torch, dtype)
    boxes = make([[5, 5, 10, 10], [1, 1, 2, 3]], dtype=kind)
    converted = BoxMode.convert(boxes, BoxMode.XYXY_ABS, BoxMode.XYWH_ABS)
    assert type(converted) is type(boxes)
    assert converted.dtype == boxes.dtype
    assert converted.tolist() == [[5, 5, 5, 5], [1, 1, 1, 2]]
    assert boxes.tolist() == [[5, 5, 10, 10], [1, 1, 2, 3]]
    back = BoxMode.convert(converted, BoxMode.XYWH_ABS, BoxMode.XYXY_ABS)
    assert back.tolist() == boxes.tolist()


@pytest.mark.parametrize("make", [np.asarray, torch.tensor])
def test_no_boxes_are_no_boxes(make):
    empty = make(np.zeros((0, 4), dtype=np.float32)) if make is np.asarray else torch.zeros(0, 4)
    assert BoxMode.convert(empty, BoxMode.XYWH_ABS, BoxMode.XYXY_ABS).shape == (0, 4)


def test_modes_may_be_integers_and_equal():
    assert BoxMode.convert([1, 2, 3, 4], 0, 1) == [1, 2, 2, 2]
    box = [1, 2, 3, 4]
    assert BoxMode.convert(box, BoxMode.XYWH_ABS, BoxMode.XYWH_ABS) is box


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_rotated_boxes_get_their_bounding_box(dtype):
    boxes = np.asarray(ROTATED, dtype=dtype)
    converted = BoxMode.convert(boxes, BoxMode.XYWHA_ABS, BoxMode.XYXY_ABS)
    assert converted.dtype == dtype
    np.testing.assert_allclose(converted, UPRIGHT, atol=1e-5)
    single = BoxMode.convert(tuple(ROTATED[0]), BoxMode.XYWHA_ABS, BoxMode.XYXY_ABS)
    assert single == (35, 40, 65, 60)


def test_upright_boxes_become_rotated_with_angle_zero():
    box = [50, 50, 30, 20]
    assert BoxMode.convert(box, BoxMode.XYWH_ABS, BoxMode.XYWHA_ABS) == [65, 60, 30, 20, 0]


@pytest.mark.parametrize("box", [[[5.0, 5.0, 10.0, 10.0]], [1.0, 2.0, 3.0], np.zeros((2, 3))])
def test_wrong_shapes_are_refused(box):
    with pytest.raises((AssertionError, ValueError, IndexError)):
        BoxMode.convert(box, BoxMode.XYXY_ABS, BoxMode.XYWH_ABS)


@pytest.mark.parametrize(
    ("from_mode", "to_mode"),
    [(BoxMode.XYXY_REL, BoxMode.XYXY_ABS), (BoxMode.XYXY_ABS, BoxMode.XYWHA_ABS)],
)
def test_conversions_that_do_not_exist_are_refused(from_mode, to_mode):
    with pytest.raises((AssertionError, ValueError, NotImplementedError)):
        BoxMode.convert([0.0, 0.0, 1.0, 1.0], from_mode, to_mode)


def test_modes_survive_json():
    assert BoxMode(json.loads(json.dumps({"mode": BoxMode.XYWH_REL}))["mode"]) is BoxMode.XYWH_REL
