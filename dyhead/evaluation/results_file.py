"""Reads the detections that an evaluation has left, in COCO's result format."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dyhead.data.checks.values import Id, read_id, read_number
from dyhead.data.sources.json_file import read_json
from dyhead.errors import UserError

_NO_IMAGES: Mapping[Id, str] = {}


def read_results(
    path: Path,
    images: Mapping[Id, Any],
    categories: Mapping[Id, Any],
    lost_images: Mapping[Id, str] = _NO_IMAGES,
) -> list[dict[str, Any]]:
    """Read detections, checked, with the caller's names of images and categories.

    Args:
        path: a json list of `image_id`, `category_id`, `bbox` (x, y, width, height) and `score`.
        images: `image_id`s of the file -> what to call them.
        categories: `category_id`s of the file -> what to call them.
        lost_images: `image_id`s of images that the data set leaves out -> what is wrong with them.

    Raises:
        UserError: it can't be read, or does not fit to the data set.
    """
    content = read_json(path)
    if not isinstance(content, list):
        raise UserError(f"{path} is no list of detections: `dyhead eval` on the run makes it anew.")
    return [_checked(entry, path, images, categories, lost_images) for entry in content]


def _checked(
    entry: Any,
    path: Path,
    images: Mapping[Id, Any],
    categories: Mapping[Id, Any],
    lost_images: Mapping[Id, str],
) -> dict[str, Any]:
    try:
        image, category = images.get(entry["image_id"]), categories.get(entry["category_id"])
        numbers = [read_number(value) for value in (*entry["bbox"], entry["score"])]
    except (KeyError, TypeError) as error:
        raise UserError(f"{path} has the entry {str(entry)[:80]}: it is no detection.") from error
    identifier = read_id(entry["image_id"])
    if image is None and identifier is not None and identifier in lost_images:
        raise UserError(
            f"{path} has detections in a picture that the data set leaves out by now,"
            f" {lost_images[identifier]}. Put the picture back as it was, or evaluate again with"
            " `dyhead eval`."
        )
    for what, found in (("image", image), ("category", category)):
        if found is None:
            raise UserError(
                f"{path} has detections of {what} {entry[f'{what}_id']!r}, which the data set does"
                " not have: it has changed since, or is another one. Evaluate again with `dyhead"
                " eval`."
            )
    if len(numbers) != 5 or None in numbers:
        raise UserError(f"{path} has the entry {str(entry)[:80]}: its numbers are not finite.")
    return {"image_id": image, "category_id": category, "bbox": numbers[:4], "score": numbers[4]}
