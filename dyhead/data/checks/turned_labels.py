"""Turns labels that were made on pictures as they are stored, before EXIF turned them."""

from collections.abc import Mapping
from typing import Any

from dyhead.data.checks.images import Turn
from dyhead.data.checks.items import read_box
from dyhead.data.checks.values import read_id, read_number
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
    # without masks of pixels, from which no box could be taken any more
    turned = {key: value for key, value in annotation.items() if key != "segmentation"}
    box, polygons = read_box(annotation.get("bbox")), annotation.get("segmentation")
    if box is not None and any(box):  # four zeros stand for a box that is missing
        turned["bbox"] = turn_box(box, turn.orientation, turn.stored)
    if isinstance(polygons, list):
        turned["segmentation"] = [_polygon(polygon, turn) for polygon in polygons]
    return turned


def _polygon(polygon: Any, turn: Turn) -> Any:
    read = [read_number(value) for value in polygon] if isinstance(polygon, list) else [None]
    numbers = [value for value in read if value is not None]
    if len(numbers) < len(read):
        return polygon
    points = zip(numbers[0::2], numbers[1::2], strict=False)
    turned = (turn_point(x, y, turn.orientation, turn.stored) for x, y in points)
    return [value for point in turned for value in point]
