"""Boxes are compared with a pyramid's levels in the size that training sees them in."""

from typing import Any

import numpy as np
import pytest

from dyhead.config import load_config
from dyhead.d2.data.transforms import ResizeShortestEdge
from dyhead.data_report.pyramid import Pyramid, count_levels, read_pyramid
from dyhead.data_report.statistics import collect_boxes


@pytest.fixture(scope="module")
def pyramid() -> Pyramid:
    sizes = ["INPUT.MIN_SIZE_TRAIN", "(224, 256, 288)", "INPUT.MAX_SIZE_TRAIN", "384"]
    cfg, _ = load_config("own_dataset", sizes)
    return read_pyramid("own_dataset", cfg)


def content(size: tuple[int, int], *sides: float) -> dict[str, Any]:
    return {
        "images": [{"id": 1, "width": size[0], "height": size[1]}],
        "categories": [{"id": 1, "name": "cell"}],
        "annotations": [{"image_id": 1, "category_id": 1, "bbox": [0, 0, s, s]} for s in sides],
    }


def test_levels_are_those_that_the_detector_reads(pyramid: Pyramid) -> None:
    assert [(each.name, each.stride) for each in pyramid.levels] == [
        ("p3", 8),
        ("p4", 16),
        ("p5", 32),
        ("p6", 64),
        ("p7", 128),
    ]
    assert [round(each.object_side) for each in pyramid.levels] == [32, 64, 128, 256, 512]
    assert (pyramid.min_size, pyramid.max_size, pyramid.max_objects) == (256, 384, 100)


@pytest.mark.parametrize(
    "config", ["dyhead_r50_fcos_fpn_1x", "dyhead_r50_rcnn_fpn_1x", "dyhead_r50_reppoints_fpn_1x"]
)
def test_every_kind_of_detector_has_levels(config: str) -> None:
    cfg, _ = load_config(config, ["MODEL.DYHEAD.NUM_CONVS", "1", "MODEL.RESNETS.DEPTH", "50"])
    levels = read_pyramid(config, cfg).levels
    assert len(levels) == 5
    assert all(b.stride == 2 * a.stride for a, b in zip(levels, levels[1:], strict=False))
    assert all(
        b.object_side == pytest.approx(2 * a.object_side)
        for a, b in zip(levels, levels[1:], strict=False)
    )


@pytest.mark.parametrize("size", [(640, 480), (100, 400), (3000, 2)])
def test_boxes_are_as_large_as_after_the_resizing_of_training(
    pyramid: Pyramid, size: tuple[int, int]
) -> None:
    given = content(size, 10)
    resize = ResizeShortestEdge([pyramid.min_size], pyramid.max_size, "choice")
    transform = resize.get_transform(np.zeros((size[1], size[0], 3), np.uint8))
    wide = size[0] > size[1]
    factor = transform.new_w / size[0] if wide else transform.new_h / size[1]
    counted = count_levels(given, collect_boxes(given), pyramid)
    (label,) = (k for k, v in zip(counted.sides.labels, counted.sides.counts, strict=True) if v)
    first, _, last = label.removeprefix("below ").removeprefix("from ").partition(" to ")
    low, high = (float(first), float(last)) if last else (0, 4)
    assert low <= 10 * factor < high


def test_each_box_is_on_the_level_whose_objects_are_nearest(pyramid: Pyramid) -> None:
    given = content((256, 256), 5, 7.9, 32, 45, 46, 64, 200, 230)
    counted = count_levels(given, collect_boxes(given), pyramid)
    assert counted.levels.counts == [4, 2, 0, 2, 0]
    assert counted.below_stride.tolist() == [0, 1]
