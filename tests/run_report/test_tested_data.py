"""Data is the same where classes, pictures and labels agree; else the first difference is said."""

import copy
from typing import Any

import pytest

from dyhead.run_report.tested_data import labelled_data

TRUTH: dict[str, Any] = {
    "categories": [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}],
    "images": [
        {"id": 7, "file_name": "some/a.png", "width": 60, "height": 40},
        {"id": 9, "file_name": "some/b.png", "width": 60, "height": 40},
    ],
    "annotations": [
        {"id": 1, "image_id": 7, "category_id": 1, "bbox": [1, 2, 3, 4], "iscrowd": 0},
        {"id": 2, "image_id": 7, "category_id": 2, "bbox": [11, 2, 3, 4], "iscrowd": 0},
        {"id": 3, "image_id": 9, "category_id": 2, "bbox": [5, 2, 3, 4], "iscrowd": 1},
    ],
}


def changed(change) -> str:
    other = copy.deepcopy(TRUTH)
    change(other)
    return labelled_data(TRUTH).difference(labelled_data(other))


def swap_classes(truth: dict[str, Any]) -> None:
    """As many objects of each class, and the same boxes."""
    first, second, _ = truth["annotations"]
    first["category_id"], second["category_id"] = 2, 1


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda t: t["categories"][0].update(name="cow"), "its classes are other ones, such as c"),
        (lambda t: t["images"].pop(), "its pictures are other ones: 1, not 2"),
        (
            lambda t: t["images"][1].update(file_name="c.png"),
            "its pictures are other ones, such as",
        ),
        (lambda t: t["images"][1].update(width=30), "b.png has 30 x 40 pixels, not 60 x 40 pixels"),
        (lambda t: t["annotations"].pop(0), "it has other objects: 1, not 2"),
        (lambda t: t["annotations"].pop(), "the boxes of its objects are other ones, such as in b"),
        (
            lambda t: t["annotations"][0].update(bbox=[1, 2, 3, 4.2]),
            "the boxes of its objects are other ones, such as in a.png",
        ),
        (swap_classes, "its objects are labelled otherwise, such as in a.png"),
    ],
)
def test_the_first_difference_is_said(change, reason) -> None:
    assert changed(change).startswith(reason)


def renumber(truth: dict[str, Any]) -> None:
    for image in truth["images"]:
        image["id"] = -image["id"]  # in another order, too
    for annotation in truth["annotations"]:
        annotation["image_id"] *= -1


@pytest.mark.parametrize(
    "change",
    [
        renumber,
        lambda t: t["annotations"].reverse(),
        lambda t: t["images"][0].update(file_name="elsewhere/a.png"),
        lambda t: t["annotations"][0].update(bbox=[1.0, 2, 3, 4.01], id=99),
    ],
)
def test_ids_folders_order_and_roundings_do_not_count(change) -> None:
    assert changed(change) == ""
