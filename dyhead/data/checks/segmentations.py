"""Takes boxes from polygons and masks, for annotations that have no box."""

from typing import Any

import pycocotools.mask as mask_util

from dyhead.data.checks.values import read_number

_MIN_COORDINATES = 6  # three points


def box_of(segmentation: Any, width: int, height: int) -> list[float] | None:
    """Return the box (x, y, width, height) in pixels around a segmentation in COCO's format.

    Args:
        segmentation: polygons [[x, y, x, y, ...], ...], one such list alone, or a run-length code
            {"size": [height, width], "counts": numbers or text} of the whole image.
        width: of the image.
        height: of the image.

    Returns:
        None where it is none of these, empty, or of another size than the image.
    """
    if isinstance(segmentation, dict):
        return _box_of_mask(segmentation, width, height)
    if not isinstance(segmentation, list) or not segmentation:
        return None
    is_flat = not isinstance(segmentation[0], list)
    return _box_of_polygons([segmentation] if is_flat else segmentation)


def _box_of_polygons(polygons: list) -> list[float] | None:
    xs: list[float] = []
    ys: list[float] = []
    for polygon in polygons:
        if not isinstance(polygon, list) or len(polygon) % 2 or len(polygon) < _MIN_COORDINATES:
            return None
        numbers = [number for value in polygon if (number := read_number(value)) is not None]
        if len(numbers) != len(polygon):
            return None
        xs += numbers[0::2]
        ys += numbers[1::2]
    return [min(xs), min(ys), max(xs) - min(xs), max(ys) - min(ys)]


def _box_of_mask(code: dict, width: int, height: int) -> list[float] | None:
    counts = code.get("counts")
    # pycocotools' C code trusts sizes and counts.
    if code.get("size") != [height, width]:
        return None
    if isinstance(counts, list):
        if (
            not all(type(run) is int and run >= 0 for run in counts)
            or sum(counts) != height * width
        ):
            return None
        code = mask_util.frPyObjects({"size": [height, width], "counts": counts}, height, width)
    elif not isinstance(counts, str) or not counts or not counts.isascii():
        return None
    else:
        code = {"size": [height, width], "counts": counts}
    box = [float(value) for value in mask_util.toBbox(code)]
    return box if box[2] > 0 and box[3] > 0 else None
