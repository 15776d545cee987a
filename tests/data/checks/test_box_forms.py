"""Corners and fractions in the place of widths and pixels are named, with the evidence."""

import pytest

from dyhead.data.checks import check_coco, kinds

PIXELS = [[8, 16, 18, 20], [37, 10, 17, 21], [26, 6, 26, 20], [30, 2, 23, 14], [3, 22, 10, 15]]


def check_boxes(coco, boxes):
    coco.content["annotations"] = []
    for number, box in enumerate(boxes, start=1):
        coco.add_box(number, bbox=box, area=1)
    return check_coco(coco.content, coco.write(), coco.images)


def test_corners_are_named_and_not_converted(coco):
    corners = [[x, y, x + w, y + h] for x, y, w, h in PIXELS]
    checked, report = check_boxes(coco, corners)
    leaving = sum(x0 + x1 > 60 or y0 + y1 > 40 for x0, y0, x1, y1 in corners)
    assert report.count(kinds.CORNER_BOXES) == leaving >= 3
    assert f"{leaving} of 5 boxes leave their image, as corners none" in str(report)
    assert checked["annotations"][0]["bbox"] == [8, 16, 26, 24], "clipped as before"


def test_fractions_are_named_also_where_nothing_is_left(coco):
    fractions = [[x / 60, y / 40, w / 60, h / 40] for x, y, w, h in PIXELS]
    _, report = check_boxes(coco, fractions)
    assert report.count(kinds.FRACTION_BOXES) == 5 and report.count(kinds.NOTHING_USABLE) == 1


@pytest.mark.parametrize(
    "boxes",
    [
        PIXELS,
        [[0, 0, 60, 40]] * 9,
        [[x, y, w + 30, h] for x, y, w, h in PIXELS],  # sloppy: too wide
        [*PIXELS, [0, 0, 1, 1]],
        [[20, 10, 45, 35]],  # one box proves nothing
    ],
    ids=["sound", "whole image", "too wide", "one pixel", "one"],
)
def test_pixels_are_neither(coco, boxes):
    _, report = check_boxes(coco, boxes)
    assert not {kinds.CORNER_BOXES, kinds.FRACTION_BOXES} & set(report.findings)
