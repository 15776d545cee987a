"""Ids of any form become numbers that COCO's tools handle, and come back as they were written."""

import pytest

from dyhead.data.checks import check_coco, kinds
from dyhead.data.checks.identifiers import ORIGINAL_IDS, restore_ids
from dyhead.data.sources.coco import read_coco

LONG = 2**53


def rename_ids(coco, key, reference, new):
    for entry in coco.content[key]:
        entry["id"] = new[entry["id"]]
    for annotation in coco.content["annotations"] if reference else ():
        annotation[reference] = new[annotation[reference]]


def check(coco):
    path = coco.write()
    return check_coco(read_coco(path), path, coco.images)


@pytest.mark.parametrize(
    ("new", "numbers"),
    [
        ({1: LONG + 3, 2: LONG + 1, 3: LONG + 2}, {1: 3, 2: 1, 3: 2}),
        ({1: 2**64, 2: 7, 3: 2**63}, {1: 3, 2: 1, 3: 2}),
        ({1: "b", 2: "a", 3: "c"}, {1: 2, 2: 1, 3: 3}),
        ({1: "x", 2: 10, 3: "9"}, {1: 3, 2: 2, 3: 1}),
        ({1: -4, 2: 0, 3: 2}, {1: 1, 2: 2, 3: 3}),
    ],
    ids=["above 2**53", "above 2**63", "text", "mixed", "negative"],
)
def test_ids_are_numbered_in_their_order_and_restored(coco, new, numbers):
    rename_ids(coco, "images", "image_id", new)
    checked, report = check(coco)
    assert [image["id"] for image in checked["images"]] == list(numbers.values())
    assert [each["image_id"] for each in checked["annotations"]] == list(numbers.values())
    odd = sum(isinstance(each, str) or not 0 <= each < LONG for each in map(normal, new.values()))
    assert report.count(kinds.INTERNAL_ID) == odd and not report.has_faults
    assert checked[ORIGINAL_IDS]["images"] == {numbers[each]: new[each] for each in new}
    restored = restore_ids(checked)
    assert [image["id"] for image in restored["images"]] == list(new.values())
    assert [each["image_id"] for each in restored["annotations"]] == list(new.values())


def normal(identifier):
    return 9 if identifier == "9" else identifier


def test_numbers_in_quotes_stay_the_same_numbers_and_come_back_quoted(coco):
    rename_ids(coco, "images", None, {1: "1", 2: "2", 3: "10"})
    coco.content["annotations"][2]["image_id"] = 10.0
    checked, report = check(coco)
    assert [each["image_id"] for each in checked["annotations"]] == [1, 2, 10]
    assert report.counts == {kinds.NUMBER_AS_TEXT: 3}
    assert [each["image_id"] for each in restore_ids(checked)["annotations"]] == ["1", "2", "10"]


def test_category_ids_of_text_are_numbered_in_the_order_of_the_text(coco):
    rename_ids(coco, "categories", "category_id", {3: "zebra", 7: "ant"})
    checked, _ = check(coco)
    assert [each["id"] for each in checked["categories"]] == [2, 1]
    assert [each["category_id"] for each in checked["annotations"]] == [2, 2, 1]
    restored = restore_ids(checked)
    assert [each["category_id"] for each in restored["annotations"]] == ["zebra", "zebra", "ant"]


def test_annotation_ids_of_text_and_long_ones_get_free_numbers(coco):
    for annotation, number in zip(coco.content["annotations"], ["u-1", 5, LONG], strict=True):
        annotation["id"] = number
    checked, report = check(coco)
    assert [each["id"] for each in checked["annotations"]] == [6, 5, 7]
    assert report.counts == {kinds.INTERNAL_ID: 2}
    assert [each["id"] for each in restore_ids(checked)["annotations"]] == ["u-1", 5, LONG]


def test_the_largest_exact_id_stays(coco):
    new = {1: LONG - 1, 2: 0, 3: 5}
    rename_ids(coco, "images", "image_id", new)
    checked, report = check(coco)
    assert [each["id"] for each in checked["images"]] == list(new.values())
    assert not report.findings and ORIGINAL_IDS not in checked


def test_a_number_and_the_same_in_quotes_are_one_id(coco):
    coco.add_image(4, id="1")
    coco.content["categories"].append({"id": "3", "name": "cow"})
    with pytest.raises(ValueError, match="several categories with the id 3"):
        check(coco)
    coco.content["categories"].pop()
    _, report = check(coco)
    assert report.count(kinds.DUPLICATE_IMAGE_ID) == 1


def test_original_ids_of_an_earlier_copy_are_forgotten(coco):
    coco.content[ORIGINAL_IDS] = {"images": {"1": "other"}}
    checked, _ = check(coco)
    assert ORIGINAL_IDS not in checked


@pytest.mark.parametrize("identifier", [None, True, 1.5, float("nan"), [1], {}])
def test_an_image_without_an_id_is_counted(coco, identifier):
    coco.content["images"][0]["id"] = identifier
    _, report = check_coco(coco.content, coco.write(), coco.images)
    assert report.count(kinds.MALFORMED_IMAGE) == report.count(kinds.UNKNOWN_IMAGE) == 1
