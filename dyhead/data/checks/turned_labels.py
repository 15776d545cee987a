"""Turns labels that were made on pictures as they are stored, before EXIF turned them."""

from collections.abc import Mapping
from typing import Any

from dyhead.data.checks.images import Turn
from dyhead.data.checks.items import read_box
from dyhead.data.checks.values import read_id
from dyhead.picture_files.orientation import turn_box, turn_point


def turn_labels(annotations: list, turns: Mapping[Any, Turn]) -> list:
    """Turn the boxes and polygons of some images with their pictures; the others stay as they are.

    Args:
        annotations: the list as it stands in the file; it is not changed.
        turns: image id -> how.
    """
    if not turns:
        return annotations
    return [_turned(annotation, turns) for annotation in annotations]


def _turned(annotation: Any, turns: Mapping[Any, Turn]) -> Any:
    if not isinstance(annotation, dict):
        return annotation
    turn = turns.get(read_id(annotation.get("image_id")))
    if turn is None:
        return annotation
    turned = {key: value for key, value in annotation.items() if key != "segmentation"}
    box, polygons = read_box(annotation.get("bbox")), annotation.get("segmentation")
    if box is not None:
        turned["bbox"] = turn_box(box, turn.orientation, turn.stored)
    if isinstance(polygons, list):
        turned["segmentation"] = [_polygon(p, turn) if _are_numbers(p) else p for p in polygons]
    return turned


def _polygon(polygon: list, turn: Turn) -> list[float]:
    points = zip(polygon[0::2], polygon[1::2], strict=False)
    turned = (turn_point(x, y, turn.orientation, turn.stored) for x, y in points)
    return [value for point in turned for value in point]


def _are_numbers(values: Any) -> bool:
    return isinstance(values, list) and all(isinstance(value, (int, float)) for value in values)
