"""What annotations probably do not mean is counted, and nothing of it changed."""

import pytest

from dyhead.data.checks import check_coco, kinds


def check(coco):
    return check_coco(coco.content, coco.write(), coco.images)


def test_many_crowds_are_counted_and_few_are_not(coco):
    for number in range(4, 10):
        coco.add_box(number, bbox=[number, 2, 20, 20], iscrowd=number % 2)
    checked, report = check(coco)
    assert report.count(kinds.MANY_CROWDS) == 3 and report.has_faults
    assert "(3 of 9 annotations: annotation 5 of 1.png" in str(report)
    assert checked["annotations"] == coco.content["annotations"] and not report.repaired

    for number in range(10, 40):
        coco.add_box(number, bbox=[number, 3, 10, 20])
    assert check(coco)[1].count(kinds.MANY_CROWDS) == 0


def test_what_is_marked_ignore_is_not_counted_as_crowd_again(coco):
    coco.add_box(90, ignore=1)
    assert check(coco)[1].counts == {kinds.IGNORED_BOX: 1}


@pytest.mark.parametrize(
    ("category", "kind", "is_fault"),
    [(3, kinds.SAME_BOX, True), (7, kinds.SAME_BOX_OTHER_CLASS, False)],
)
def test_a_box_drawn_twice_is_counted_and_kept(coco, category, kind, is_fault):
    coco.add_box(90, image_id=2, category_id=category, bbox=[5, 6, 20, 10])
    checked, report = check(coco)
    assert report.count(kind) == 1 and report.has_faults == is_fault
    assert len(checked["annotations"]) == 4 and not report.repaired


def test_a_category_without_boxes_is_a_note(coco):
    coco.content["annotations"].pop()
    _, report = check(coco)
    assert report.count(kinds.EMPTY_CATEGORY) == 1 and not report.has_faults
    assert "'dog'" in str(report) and str(report).startswith("Notes on")
    coco.add_box(90, category_id=7, bbox=[1, 2, 30, 10])
    assert not check(coco)[1].findings


@pytest.mark.parametrize("name", ["Cat", "cat ", "c-at", "C AT"])
def test_categories_that_differ_in_spelling_are_a_note(coco, name):
    coco.content["categories"].append({"id": 9, "name": name})
    _, report = check(coco)
    assert report.count(kinds.SIMILAR_CATEGORIES) == 1 and not report.has_faults


def test_the_second_box_of_a_second_class_is_one_of_its_class(coco):
    for number, category_id in ((90, 7), (91, 7)):
        coco.add_box(number, image_id=2, category_id=category_id, bbox=[5, 6, 20, 10])
    _, report = check(coco)
    assert report.counts == {kinds.SAME_BOX_OTHER_CLASS: 1, kinds.SAME_BOX: 1}
