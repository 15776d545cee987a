"""Sorts the detections of a picture by the kind of their error, and finds the objects missed.

The kinds are those of TIDE (Bolya, Foley, Hays and Hoffman, "TIDE: A General Toolbox for
Identifying Object Detection Errors", ECCV 2020), with its IoUs of 0.5 and 0.1. A detection is

- matched: it finds an object of its class with an IoU of at least 0.5 that no more certain
  detection has found; the most certain choose first, each the object of the highest IoU;
- ignored: half of it lies in a crowd of its class;
- badly placed: its highest IoU with an object of its class is at least 0.1 and below 0.5;
- of the wrong class: it has an IoU of at least 0.5 with an object of another class;
- a duplicate: it has an IoU of at least 0.5 with an object of its class that is found already;
- background: its IoU with every object is at most 0.1;
- both of the wrong class and badly placed: what is left.

The first of these that is true counts. An object is missed where no detection is matched to it, and
none that is badly placed or of the wrong class is aimed at it.
"""

from enum import IntEnum
from typing import NamedTuple

import numpy as np

FOREGROUND_IOU = 0.5
BACKGROUND_IOU = 0.1


class Kind(IntEnum):
    """The kinds of detections, see above; `MISSED` is of objects alone."""

    MATCHED = 0
    WRONG_CLASS = 1
    BADLY_PLACED = 2
    BOTH = 3
    DUPLICATE = 4
    BACKGROUND = 5
    MISSED = 6
    IGNORED = 7


class Objects(NamedTuple):
    """The ground truth of one picture."""

    boxes: np.ndarray  # (M, 4), XYXY in pixels
    classes: np.ndarray  # (M,)
    is_crowd: np.ndarray  # (M,), bool


class Found(NamedTuple):
    """The detections in one picture."""

    boxes: np.ndarray  # (N, 4), XYXY in pixels
    classes: np.ndarray  # (N,)
    scores: np.ndarray  # (N,)


class Errors(NamedTuple):
    """The kinds of detections, and the scores at which objects cease to be missed.

    A less certain detection changes nothing for a more certain one. So one computation holds for
    all score thresholds: at a threshold t, an object is found where `found_at` >= t, and missed
    where `excused_at` < t too.
    """

    kinds: np.ndarray  # (N,), `Kind`
    found_at: np.ndarray  # (M,), score of the detection that is matched; -1 where there is none
    excused_at: np.ndarray  # (M,), highest score of those that are aimed at it and fail; or -1


def classify_errors(truth: Objects, found: Found) -> Errors:
    """Sort one picture's detections, in the order in which they are given, see above."""
    crowd = truth.is_crowd.astype(bool)
    iou = _iou(found.boxes, truth.boxes)  # (N, M)
    iou[:, crowd] = 0
    same = found.classes[:, None] == truth.classes[None]
    found_at = np.full(len(truth.boxes), -1.0)
    excused_at = found_at.copy()
    kinds = np.full(len(found.boxes), Kind.BACKGROUND, dtype=np.int8)
    in_crowd = _lies_in_crowd(found, truth, same)
    for index in np.argsort(-found.scores, kind="stable").tolist():
        row, own = iou[index], same[index]
        free = np.where(own & (found_at < 0), row, 0)
        if free.max(initial=0) >= FOREGROUND_IOU:
            kinds[index] = Kind.MATCHED
            found_at[free.argmax()] = found.scores[index]
            continue
        kind, target = (Kind.IGNORED, None) if in_crowd[index] else _error(row, own)
        kinds[index] = kind
        if target is not None:
            excused_at[target] = max(excused_at[target], found.scores[index])
    return Errors(kinds, found_at, excused_at)


def _error(iou: np.ndarray, same: np.ndarray) -> tuple[Kind, int | None]:
    """Return the kind of one that is matched to nothing, and the object that it is aimed at."""
    own, other = np.where(same, iou, 0), np.where(same, 0, iou)
    nearest, nearest_other = own.max(initial=0), other.max(initial=0)
    if BACKGROUND_IOU <= nearest < FOREGROUND_IOU:
        return Kind.BADLY_PLACED, int(own.argmax())
    if nearest_other >= FOREGROUND_IOU:
        return Kind.WRONG_CLASS, int(other.argmax())
    if nearest >= FOREGROUND_IOU:
        return Kind.DUPLICATE, None
    if max(nearest, nearest_other) <= BACKGROUND_IOU:
        return Kind.BACKGROUND, None
    return Kind.BOTH, None


def _lies_in_crowd(found: Found, truth: Objects, same: np.ndarray) -> np.ndarray:
    """Tell of each detection (N,) if half of it lies in a crowd of its class."""
    areas = _areas(found.boxes)[:, None]
    covered = _intersections(found.boxes, truth.boxes) / np.maximum(areas, 1e-9)
    is_covered = (covered >= FOREGROUND_IOU) & same & truth.is_crowd.astype(bool)[None]
    lies: np.ndarray = is_covered.any(axis=1)
    return lies


def _iou(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    common = _intersections(first, second)
    union = _areas(first)[:, None] + _areas(second)[None] - common
    iou: np.ndarray = common / np.maximum(union, 1e-9)
    return iou


def _intersections(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return the common areas (N, M) of boxes (N, 4) and (M, 4)."""
    top_left = np.maximum(first[:, None, :2], second[None, :, :2])
    bottom_right = np.minimum(first[:, None, 2:], second[None, :, 2:])
    common: np.ndarray = (bottom_right - top_left).clip(min=0).prod(axis=2)
    return common


def _areas(boxes: np.ndarray) -> np.ndarray:
    areas: np.ndarray = (boxes[:, 2:] - boxes[:, :2]).clip(min=0).prod(axis=1)
    return areas
