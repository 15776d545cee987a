"""Counts what a data set is made of: classes, sizes and shapes of boxes, objects per picture."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

_RATIOS = (1 / 8, 1 / 4, 1 / 2, 1 / 2**0.5, 2**0.5, 2, 4, 8)  # width over height
_RATIO_NAMES = (
    "narrower than 1:8",
    "1:8 to 1:4",
    "1:4 to 1:2",
    "1:2 to 1:1.4",
    "about square",
    "1.4:1 to 2:1",
    "2:1 to 4:1",
    "4:1 to 8:1",
    "wider than 8:1",
)
_SIDES = (4, 8, 16, 32, 64, 128, 256, 512)  # pixels
_OBJECTS = (1, 2, 3, 5, 9, 17, 33, 65, 129)  # the first number of each bin


@dataclass(frozen=True)
class Boxes:
    """The boxes of a data set that are learnt and counted; crowds are left out.

    Attributes:
        images: (N,) the index of each box's image.
        categories: (N,) the index of each box's category, in the order of the model's classes.
        places: (N, 4) XYWH in pixels of the picture as shown.
    """

    images: np.ndarray
    categories: np.ndarray
    places: np.ndarray

    @property
    def sides(self) -> np.ndarray:
        """The side of the square of each box's area, (N,), in pixels of the picture."""
        return np.sqrt(self.places[:, 2] * self.places[:, 3])


@dataclass(frozen=True)
class Histogram:
    """The numbers of items in bins that have names."""

    labels: Sequence[str]
    counts: Sequence[int]


@dataclass(frozen=True)
class ClassCount:
    """The number of boxes of a class, and of pictures with one."""

    name: str
    boxes: int
    images: int


@dataclass(frozen=True)
class Statistics:
    """The content of a checked data set in numbers.

    Attributes:
        images: number of pictures.
        boxes: number of boxes without crowds.
        crowds: number of crowds, and of other annotations that are neither learnt nor counted.
        classes: in the order of the model's classes.
        ratios: boxes by width over height.
        objects: pictures by their number of boxes.
    """

    images: int
    boxes: int
    crowds: int
    classes: Sequence[ClassCount]
    ratios: Histogram
    objects: Histogram


def collect_boxes(content: Mapping[str, Any]) -> Boxes:
    """Collect the boxes of a checked data set in COCO's form."""
    images = {image["id"]: index for index, image in enumerate(content["images"])}
    categories = {each["id"]: index for index, each in enumerate(ordered_categories(content))}
    kept = [a for a in content["annotations"] if not a.get("iscrowd")]
    numbers = np.fromiter(
        (n for a in kept for n in (images[a["image_id"]], categories[a["category_id"]])),
        np.int64,
        2 * len(kept),
    ).reshape(-1, 2)
    places = np.fromiter((value for a in kept for value in a["bbox"]), np.float64, 4 * len(kept))
    return Boxes(numbers[:, 0], numbers[:, 1], places.reshape(-1, 4))


def ordered_categories(content: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the categories in the order of the model's classes."""
    return sorted(content["categories"], key=lambda category: category["id"])


def describe(content: Mapping[str, Any], boxes: Boxes) -> Statistics:
    """Count what a checked data set is made of.

    Args:
        content: in COCO's form.
        boxes: of `collect_boxes`.
    """
    num_boxes, num_images = len(boxes.images), len(content["images"])
    per_image = np.bincount(boxes.images, minlength=num_images)
    return Statistics(
        images=num_images,
        boxes=num_boxes,
        crowds=len(content["annotations"]) - num_boxes,
        classes=_count_classes(content, boxes),
        ratios=Histogram(
            _RATIO_NAMES, _count_bins(boxes.places[:, 2] / boxes.places[:, 3], _RATIOS)
        ),
        objects=Histogram(_object_names(), _count_bins(per_image, _OBJECTS)),
    )


def count_sides(sides: np.ndarray) -> Histogram:
    """Count boxes by their side, in octaves of pixels."""
    names = [f"below {_SIDES[0]}", *(f"{a} to {2 * a}" for a in _SIDES[:-1]), f"from {_SIDES[-1]}"]
    return Histogram(names, _count_bins(sides, _SIDES))


def _count_classes(content: Mapping[str, Any], boxes: Boxes) -> list[ClassCount]:
    names = [str(category["name"]) for category in ordered_categories(content)]
    num_boxes = np.bincount(boxes.categories, minlength=len(names))
    pairs = np.unique(boxes.images * len(names) + boxes.categories)
    num_images = np.bincount(pairs % len(names), minlength=len(names))
    return [ClassCount(name, int(num_boxes[i]), int(num_images[i])) for i, name in enumerate(names)]


def _count_bins(values: np.ndarray, edges: Sequence[float]) -> list[int]:
    """Count the values below the first edge, from each edge to the next, and from the last on."""
    bins = np.searchsorted(edges, values, side="right")
    return np.bincount(bins, minlength=len(edges) + 1).tolist()


def _object_names() -> list[str]:
    lasts = [following - 1 for following in _OBJECTS[1:]]
    between = [
        f"{first}" if first == last else f"{first} to {last}"
        for first, last in zip(_OBJECTS, lasts, strict=False)
    ]
    return ["none", *between, f"more than {_OBJECTS[-1] - 1}"]
