"""Objects and detections of each picture of a data set, as arrays."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

COCO_LIMIT = 100  # detections of a class in a picture that COCO's AP counts


@dataclass(frozen=True)
class Picture:
    """The objects of a picture, and what a detector found in it.

    Attributes:
        image_id: as in the ground truth.
        file_name: as in the ground truth.
        truth_boxes: (N, 4) XYWH in pixels.
        truth_classes: (N,) indices of classes.
        is_crowd: (N,) True for regions that neither count as found nor as missed.
        boxes: (M, 4) XYWH in pixels, by falling score.
        classes: (M,) indices of classes.
        scores: (M,) from 0 to 1.
    """

    image_id: Any
    file_name: str
    truth_boxes: np.ndarray
    truth_classes: np.ndarray
    is_crowd: np.ndarray
    boxes: np.ndarray
    classes: np.ndarray
    scores: np.ndarray


@dataclass(frozen=True)
class EvaluatedSet:
    """The pictures of a data set in the order of their ids, and the names of its classes."""

    class_names: Sequence[str]
    pictures: Sequence[Picture]


def evaluated_set(
    truth: Mapping[str, Any], results: Sequence[Mapping[str, Any]], limit: int = COCO_LIMIT
) -> EvaluatedSet:
    """Put ground truth and results of a data set together.

    Args:
        truth: in COCO's form; classes are numbered in the order of their ids.
        results: in COCO's form, with the ids of `truth`.
        limit: detections of a class in a picture that count, those with the highest scores.

    Raises:
        KeyError: a result is of an image or category that `truth` lacks.
    """
    categories = sorted(truth["categories"], key=lambda category: category["id"])
    class_of = {category["id"]: index for index, category in enumerate(categories)}
    objects, found = defaultdict(list), defaultdict(list)
    for annotation in truth.get("annotations", ()):
        objects[annotation["image_id"]].append(annotation)
    for result in results:
        found[result["image_id"]].append(result)
    images = sorted(truth["images"], key=lambda image: image["id"])
    if strangers := found.keys() - {image["id"] for image in images}:
        raise KeyError(f"the results are of image {min(strangers)}, which the data set lacks")
    pictures = [
        _picture(image, objects[image["id"]], found[image["id"]], class_of, limit)
        for image in images
    ]
    return EvaluatedSet([str(category["name"]) for category in categories], pictures)


def _picture(
    image: Mapping[str, Any],
    objects: Sequence[Mapping[str, Any]],
    found: Sequence[Mapping[str, Any]],
    class_of: Mapping[Any, int],
    limit: int,
) -> Picture:
    scores = np.array([each["score"] for each in found], dtype=np.float64)
    order = np.argsort(-scores, kind="stable")
    classes = _classes(found, class_of)[order]
    kept = _rank_within_class(classes) < limit
    return Picture(
        image["id"],
        str(image["file_name"]),
        _boxes(objects),
        _classes(objects, class_of),
        np.array([bool(each.get("iscrowd")) for each in objects], dtype=bool),
        _boxes(found)[order][kept],
        classes[kept],
        scores[order][kept],
    )


def _boxes(items: Sequence[Mapping[str, Any]]) -> np.ndarray:
    return np.array([each["bbox"] for each in items], dtype=np.float64).reshape(-1, 4)


def _classes(items: Sequence[Mapping[str, Any]], class_of: Mapping[Any, int]) -> np.ndarray:
    return np.array([class_of[each["category_id"]] for each in items], dtype=np.int64)


def _rank_within_class(classes: np.ndarray) -> np.ndarray:
    """Count for each detection those of its class before it."""
    ranks = np.zeros(len(classes), dtype=np.int64)
    for index in np.unique(classes):
        members = classes == index
        ranks[members] = np.arange(members.sum())
    return ranks
