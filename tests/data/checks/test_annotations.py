"""Annotations in the forms of other programs are read as what they say, and counted."""

import json

import pytest

from dyhead.data.checks import check_coco, kinds
from dyhead.data.sources.coco import read_coco


def check(coco):
    path = coco.write()
    return check_coco(read_coco(path), path, coco.images)


def last(checked):
    return checked["annotations"][-1]


@pytest.mark.parametrize(
    "written",
    [
        {"image_id": "1"},
        {"category_id": "3"},
        {"category_id": "3.0"},
        {"bbox": ["8", "6.0", "20", "1e1"]},
        {"area": "200"},
        {"iscrowd": "0"},
        {"iscrowd": "false"},
    ],
)
def test_numbers_and_flags_in_quotes_are_read_and_counted(coco, written):
    coco.add_box(90, bbox=[8, 6, 20, 10])
    sound, _ = check(coco)
    coco.content["annotations"][-1].update(written)
    checked, report = check(coco)
    assert last(checked) == last(sound)
    assert report.counts == {kinds.NUMBER_AS_TEXT: 1}
    assert not report.has_faults and report.repaired


@pytest.mark.parametrize(
    ("written", "kind"),
    [
        ({"area": "big"}, kinds.WRONG_AREA),
        ({"iscrowd": "maybe"}, kinds.UNCLEAR_FLAG),
        ({"ignore": "maybe"}, kinds.UNCLEAR_FLAG),
    ],
)
def test_text_that_is_no_number_is_not_counted_as_one(coco, written, kind):
    coco.add_box(90, bbox=[8, 6, 20, 10], **written)
    _, report = check(coco)
    assert report.counts == {kind: 1}


@pytest.mark.parametrize("written", [{"image_id": 1.0}, {"category_id": 3.0}, {"iscrowd": False}])
def test_whole_floats_and_truth_values_become_integers_in_a_copy(coco, written):
    coco.add_box(90, **written)
    checked, report = check(coco)
    assert not report.findings and report.repaired
    assert "1.0" not in json.dumps(checked) and "false" not in json.dumps(checked)


@pytest.mark.parametrize("written", [True, "1", "true", 1.0])
def test_a_crowd_in_any_form_is_a_crowd(coco, written):
    coco.add_box(90, iscrowd=written)
    checked, _ = check(coco)
    assert last(checked)["iscrowd"] == 1 and type(last(checked)["iscrowd"]) is int


def test_ignore_of_nought_in_quotes_ignores_nothing(coco):
    coco.add_box(90, ignore="0")
    checked, report = check(coco)
    assert last(checked)["iscrowd"] == 0 and report.count(kinds.IGNORED_BOX) == 0


@pytest.mark.parametrize("written", [2, "maybe", [1]])
def test_a_flag_that_is_none_is_counted_and_taken_for_nought(coco, written):
    coco.add_box(90, iscrowd=written)
    checked, report = check(coco)
    assert last(checked)["iscrowd"] == 0 and report.count(kinds.UNCLEAR_FLAG) == 1


@pytest.mark.parametrize("size", [None, 0, "", "60", 60.0])
def test_sizes_of_images_are_read_or_taken_from_the_file(coco, size):
    for image in coco.content["images"]:
        image["width"] = size
    checked, report = check(coco)
    widths = [image["width"] for image in checked["images"]]
    assert widths == [60] * 3 and all(type(width) is int for width in widths)
    assert report.repaired and not report.has_faults


@pytest.mark.parametrize("area", [0, -5, 400, "400"])
def test_an_area_that_the_box_cannot_have_is_computed_and_counted(coco, area):
    coco.add_box(90, bbox=[5, 5, 9, 10], area=area)
    checked, report = check(coco)
    assert last(checked)["area"] == 90 and report.count(kinds.WRONG_AREA) == 1


@pytest.mark.parametrize(
    "area", [float("nan"), float("inf"), 10**400, "1e999", "big", "", True, [90], {}]
)
def test_an_area_that_is_no_number_is_computed_and_counted(coco, area):
    coco.add_box(90, bbox=[5, 5, 9, 10], area=area)
    checked, report = check_coco(coco.content, coco.write(), coco.images)
    assert last(checked)["area"] == 90 and report.count(kinds.WRONG_AREA) == 1


def test_null_is_no_area_and_nothing_to_count(coco):
    coco.add_box(90, bbox=[5, 5, 9, 10], area=None)
    checked, report = check(coco)
    assert last(checked)["area"] == 90 and not report.findings


@pytest.mark.parametrize("area", [30.5, 90, 110])
def test_the_area_of_a_mask_and_one_with_both_borders_stay(coco, area):
    coco.add_box(90, bbox=[5, 5, 9, 10], area=area)
    checked, report = check(coco)
    assert last(checked)["area"] == area and not report.findings


@pytest.mark.parametrize("box", [None, [], [0, 0, 0, 0], "missing"])
def test_a_missing_box_is_taken_from_the_segmentation(coco, box):
    polygon = [[8, 16, 26, 16, 26, 39, 8, 39]]
    coco.add_box(90, bbox=[8, 16, 18, 23], segmentation=polygon)
    coco.content["annotations"][-1]["bbox"] = box
    if box == "missing":
        del coco.content["annotations"][-1]["bbox"]
    checked, report = check(coco)
    assert last(checked)["bbox"] == [8, 16, 18, 23] and last(checked)["area"] == 414
    assert report.counts == {kinds.BOX_FROM_SEGMENTATION: 1} and not report.has_faults


@pytest.mark.parametrize("value", [float("inf"), 10**400, "1e999", None, True, [5]])
def test_a_box_of_what_is_no_finite_number_is_left_out(coco, value):
    coco.add_box(90)
    coco.content["annotations"][-1]["bbox"] = [1, 2, value, 4]
    checked, report = check_coco(coco.content, coco.write(), coco.images)
    assert len(checked["annotations"]) == 3
    assert report.counts == {kinds.MALFORMED_ANNOTATION: 1}


def test_numbers_that_overflow_when_added_are_clipped(coco):
    coco.add_box(90, bbox=[1e308, 2, 1e308, 4])
    coco.add_box(91, bbox=[1, 2, 1e308, 1e308])
    checked, report = check(coco)
    assert last(checked)["bbox"] == [1, 2, 59, 38]
    assert report.count(kinds.OUTSIDE_BOX) == report.count(kinds.CLIPPED_BOX) == 1
    assert "Infinity" not in json.dumps(checked)
