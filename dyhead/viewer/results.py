"""Reads a detector's predictions for a data set, in COCO's result format, into arrays."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dyhead.data.checks.values import Id, read_number
from dyhead.data.sources.json_file import read_json
from dyhead.errors import UserError
from dyhead.viewer.error_kinds import Found


def read_results(
    path: Path, picture_of: Mapping[Id, int], class_of: Mapping[Id, int]
) -> tuple[np.ndarray, Found]:
    """Read predictions, sorted by picture, the most certain of a picture first.

    Args:
        path: a json list of `image_id`, `category_id`, `bbox` (x, y, width, height) and `score`.
        picture_of: ids of the data set's file -> places of its pictures.
        class_of: the same -> class indices.

    Returns:
        The picture of each (D,), and boxes, classes and scores.

    Raises:
        UserError: it can't be read, or is of another data set.
    """
    content = read_json(path)
    if not isinstance(content, list):
        raise UserError(f"{path} is no list of predictions: name a run whose evaluation wrote it.")
    rows = [_row(entry, path, picture_of, class_of) for entry in content]
    table = np.array(rows, dtype=np.float64).reshape(-1, 7)
    table = table[np.lexsort((-table[:, 6], table[:, 0]))]
    boxes = np.concatenate([table[:, 2:4], table[:, 2:4] + table[:, 4:6]], axis=1)
    found = Found(boxes, table[:, 1].astype(np.int64), table[:, 6])
    return table[:, 0].astype(np.int64), found


def _row(
    entry: Any, path: Path, picture_of: Mapping[Id, int], class_of: Mapping[Id, int]
) -> Sequence[float]:
    """Return picture, class, x, y, width, height and score."""
    try:
        picture, category = picture_of.get(entry["image_id"]), class_of.get(entry["category_id"])
        values = [read_number(value) for value in (*entry["bbox"], entry["score"])]
    except (KeyError, TypeError) as error:
        raise UserError(f"{path} has the entry {str(entry)[:80]}: it is no prediction.") from error
    if picture is None or category is None:
        raise UserError(
            f"{path} is of another data set: image {entry['image_id']!r} or category"
            f" {entry['category_id']!r} is not in this one. Evaluate again with `dyhead eval`."
        )
    if len(values) != 5 or None in values:
        raise UserError(f"{path} has the entry {str(entry)[:80]}: its numbers are not finite.")
    return [picture, category, *(math.nan if value is None else value for value in values)]
