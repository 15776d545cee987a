"""Reads the detections that an evaluation has left, in COCO's result format."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dyhead.data.checks.values import Id, read_number
from dyhead.data.sources.json_file import read_json
from dyhead.errors import UserError


def read_results(
    path: Path, images: Mapping[Id, Any], categories: Mapping[Id, Any]
) -> list[dict[str, Any]]:
    """Read detections, checked, with the caller's names of images and categories.

    Args:
        path: a json list of `image_id`, `category_id`, `bbox` (x, y, width, height) and `score`.
        images: `image_id`s of the file -> what to call them.
        categories: `category_id`s of the file -> what to call them.

    Raises:
        UserError: it can't be read, or is of another data set.
    """
    content = read_json(path)
    if not isinstance(content, list):
        raise UserError(f"{path} is no list of detections: `dyhead eval` on the run makes it anew.")
    return [_checked(entry, path, images, categories) for entry in content]


def _checked(
    entry: Any, path: Path, images: Mapping[Id, Any], categories: Mapping[Id, Any]
) -> dict[str, Any]:
    try:
        image, category = images.get(entry["image_id"]), categories.get(entry["category_id"])
        numbers = [read_number(value) for value in (*entry["bbox"], entry["score"])]
    except (KeyError, TypeError) as error:
        raise UserError(f"{path} has the entry {str(entry)[:80]}: it is no detection.") from error
    if image is None or category is None:
        raise UserError(
            f"{path} is of another data set: image {entry['image_id']!r} or category"
            f" {entry['category_id']!r} is not in this one. Evaluate again with `dyhead eval`."
        )
    if len(numbers) != 5 or None in numbers:
        raise UserError(f"{path} has the entry {str(entry)[:80]}: its numbers are not finite.")
    return {"image_id": image, "category_id": category, "bbox": numbers[:4], "score": numbers[4]}
