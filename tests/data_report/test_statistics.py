"""Counts of classes, shapes and objects equal those of a loop over the annotations."""

from collections import Counter
from typing import Any

import numpy as np
import pytest

from dyhead.data_report.statistics import collect_boxes, count_sides, describe


@pytest.fixture
def content() -> dict[str, Any]:
    random = np.random.default_rng(0)
    images = [{"id": 10 + i, "width": 100, "height": 80} for i in range(20)]
    categories = [{"id": i, "name": f"class {i}"} for i in (9, 2, 5)]
    annotations = [
        {
            "id": i,
            "image_id": 10 + int(random.integers(0, 19)),  # the last one has none
            "category_id": int(random.choice([2, 5])),
            "bbox": random.uniform(1, 60, 4).tolist(),
            "iscrowd": int(i % 10 == 0),
        }
        for i in range(1, 101)
    ]
    return {"images": images, "annotations": annotations, "categories": categories}


def test_classes_stand_in_the_order_of_their_ids_with_boxes_and_pictures(
    content: dict[str, Any],
) -> None:
    classes = describe(content, collect_boxes(content)).classes
    kept = [a for a in content["annotations"] if not a["iscrowd"]]
    expected = [
        (
            f"class {number}",
            sum(a["category_id"] == number for a in kept),
            len({a["image_id"] for a in kept if a["category_id"] == number}),
        )
        for number in (2, 5, 9)
    ]
    assert [(c.name, c.boxes, c.images) for c in classes] == expected
    assert expected[2][1] == 0


def test_crowds_are_counted_apart(content: dict[str, Any]) -> None:
    counted = describe(content, collect_boxes(content))
    assert (counted.images, counted.boxes, counted.crowds) == (20, 90, 10)


def test_every_picture_is_in_the_bin_of_its_number_of_boxes(content: dict[str, Any]) -> None:
    objects = describe(content, collect_boxes(content)).objects
    per_image = Counter(a["image_id"] for a in content["annotations"] if not a["iscrowd"])
    bins: Counter[str] = Counter()
    for image in content["images"]:
        number = per_image[image["id"]]
        for label in objects.labels:
            first, _, last = label.partition(" to ")
            if (
                label == "none"
                and number == 0
                or first.isdigit()
                and int(first) <= number <= int(last or first)
            ):
                bins[label] += 1
    assert dict(zip(objects.labels, objects.counts, strict=True)) == {
        label: bins[label] for label in objects.labels
    }
    assert sum(objects.counts) == 20


@pytest.mark.parametrize(
    ("width", "height", "label"),
    [
        (10, 10, "about square"),
        (10, 30, "1:4 to 1:2"),
        (30, 10, "2:1 to 4:1"),
        (900, 100, "wider than 8:1"),
        (1, 9, "narrower than 1:8"),
    ],
)
def test_a_box_is_in_the_bin_of_its_shape(
    content: dict[str, Any], width: int, height: int, label: str
) -> None:
    content["annotations"] = [
        {"image_id": 10, "category_id": 2, "bbox": [0, 0, width, height], "iscrowd": 0}
    ]
    ratios = describe(content, collect_boxes(content)).ratios
    assert dict(zip(ratios.labels, ratios.counts, strict=True))[label] == 1


def test_sides_are_counted_in_octaves() -> None:
    counted = count_sides(np.array([0.5, 3.99, 4, 7.9, 8, 511, 512, 4000]))
    assert {k: v for k, v in zip(counted.labels, counted.counts, strict=True) if v} == {
        "below 4": 2,
        "4 to 8": 2,
        "8 to 16": 1,
        "256 to 512": 1,
        "from 512": 2,
    }


def test_a_set_without_boxes_has_statistics(content: dict[str, Any]) -> None:
    content["annotations"] = []
    counted = describe(content, collect_boxes(content))
    assert counted.boxes == 0 and counted.objects.counts[0] == 20
