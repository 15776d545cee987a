"""Checks the annotations of a COCO json: ids, categories and boxes (x, y, width, height)."""

import math
from typing import Any

from dyhead.data.checks import kinds
from dyhead.data.checks.kinds import Kind
from dyhead.data.checks.report import CheckReport, Item

_TOLERANCE = 0.5  # pixels by which a box may leave its image unreported: rounding

_MIN_SIDE = 1.0  # pixels: converters turn empty boxes into boxes of one pixel
_NOT_FOR_BOXES = ("segmentation", "keypoints", "num_keypoints", "ignore")


def check_annotations(
    annotations: list,
    images: dict[Any, dict],
    lost_images: set,
    category_ids: set,
    report: CheckReport,
) -> list[dict]:
    """Find the usable annotations, with boxes inside their images and unique ids above 0.

    Args:
        annotations: the list as it stands in the file.
        images: image id -> usable image.
        lost_images: ids of images that were left out.
        category_ids: the known ones.
        report: takes what is found.
    """
    usable: list[dict] = []
    for annotation in annotations:
        problem = _problem(annotation, images, lost_images, category_ids)
        if problem is not None:
            report.add(problem, _describe(annotation, images))
            continue
        clipped = _clip(annotation, images[annotation["image_id"]])
        if clipped is not annotation:
            report.add(kinds.CLIPPED_BOX, _describe(annotation, images))
        if annotation.get("ignore"):
            report.add(kinds.IGNORED_BOX, _describe(annotation, images))
        usable.append(_complete(clipped, report))
    return _with_unique_ids(usable, images, report)


def _problem(
    annotation: Any, images: dict[Any, dict], lost_images: set, category_ids: set
) -> Kind | None:
    """Return the kind of problem that makes an annotation unusable, or None."""
    if not _is_annotation(annotation):
        return kinds.MALFORMED_ANNOTATION
    if annotation["image_id"] not in images:
        lost = annotation["image_id"] in lost_images
        return kinds.LOST_IMAGE if lost else kinds.UNKNOWN_IMAGE
    if annotation["category_id"] not in category_ids:
        return kinds.UNKNOWN_CATEGORY
    x, y, width, height = annotation["bbox"]
    if width <= 0 or height <= 0 or max(width, height) <= _MIN_SIDE:
        return kinds.DEGENERATE_BOX
    image = images[annotation["image_id"]]
    if x >= image["width"] or y >= image["height"] or x + width <= 0 or y + height <= 0:
        return kinds.OUTSIDE_BOX
    return None


def _is_annotation(annotation: Any) -> bool:
    if not isinstance(annotation, dict):
        return False
    if not all(isinstance(annotation.get(k), (int, str)) for k in ("image_id", "category_id")):
        return False
    box = annotation.get("bbox")
    return isinstance(box, list) and len(box) == 4 and all(_is_number(value) for value in box)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and math.isfinite(value)


def _clip(annotation: dict, image: dict) -> dict:
    """Return the annotation itself if its box lies inside its image, else a clipped copy."""
    x, y, width, height = annotation["bbox"]
    right, bottom = x + width, y + height
    beyond = max(-x, -y, right - image["width"], bottom - image["height"])
    if beyond <= _TOLERANCE:
        return annotation
    left, top = max(x, 0), max(y, 0)
    right, bottom = min(right, image["width"]), min(bottom, image["height"])
    clipped = {**annotation, "bbox": [left, top, right - left, bottom - top]}
    if _is_number(clipped.get("area")):
        # An area from a mask may be smaller than its box's.
        clipped["area"] = min(clipped["area"], (right - left) * (bottom - top))
    return clipped


def _complete(annotation: dict, report: CheckReport) -> dict:
    """Reduce an annotation to the keys for boxes, and fill in those of them that it lacks.

    Many exporters leave out areas and crowds. Masks and key points would only decide, in training
    alone, that an annotation counts for nothing.
    """
    kept = {key: value for key, value in annotation.items() if key not in _NOT_FOR_BOXES}
    if not _is_number(kept.get("area")):
        kept["area"] = kept["bbox"][2] * kept["bbox"][3]
    if annotation.get("ignore") or kept.get("iscrowd") not in (0, 1):
        kept["iscrowd"] = 1 if annotation.get("ignore") else 0
    if kept == annotation:
        return annotation
    report.completed = True
    return kept


def _with_unique_ids(
    annotations: list[dict], images: dict[Any, dict], report: CheckReport
) -> list[dict]:
    """Drop repeated annotations and give a new id to those whose id is missing, 0 or taken.

    COCO's evaluation looks annotations up by id and takes the id 0 for "not matched"."""
    by_id: dict[int, dict] = {}
    to_number: list[dict] = []
    for annotation in annotations:
        number = annotation.get("id")
        if isinstance(number, int) and number > 0 and number not in by_id:
            by_id[number] = annotation
        elif isinstance(number, int) and by_id.get(number) == annotation:
            report.add(kinds.DUPLICATE_ANNOTATION, _describe(annotation, images))
        else:
            report.add(kinds.RENUMBERED_ANNOTATION, _describe(annotation, images))
            to_number.append(annotation)
    first_free = max(by_id, default=0) + 1
    return [*by_id.values(), *({**a, "id": first_free + i} for i, a in enumerate(to_number))]


def _describe(annotation: Any, images: dict[Any, dict]) -> Item:
    """Name an annotation so that its author finds it."""
    if not isinstance(annotation, dict):
        return Item(str(annotation)[:60])
    image_id, box = annotation.get("image_id"), annotation.get("bbox")
    image = images.get(image_id) if isinstance(image_id, (int, str)) else None
    where = image["file_name"] if image else f"image {image_id!r}"
    details = f"category {annotation.get('category_id')!r}, box {box}"
    description = f"annotation {annotation.get('id')} of {where}, {details}"
    if image is None or not _is_annotation(annotation):
        return Item(description)
    return Item(description, image["file_name"], tuple(annotation["bbox"]))
