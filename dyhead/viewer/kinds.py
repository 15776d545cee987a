"""The kinds of a picture's boxes in the page, and the scores at which its objects are missed."""

from enum import IntEnum
from typing import NamedTuple

import numpy as np

from dyhead.evaluation.measures.error_kinds import MEANINGS, ErrorKind, find_errors
from dyhead.evaluation.measures.matching import match
from dyhead.evaluation.measures.pictures import Picture


class Kind(IntEnum):
    """The kinds of errors (`ErrorKind`, one lower), and two of detections that are none.

    `MISSED` is of objects alone.
    """

    MATCHED = 0
    CLASSIFICATION = 1 + ErrorKind.CLASSIFICATION
    LOCALISATION = 1 + ErrorKind.LOCALISATION
    BOTH = 1 + ErrorKind.BOTH
    DUPLICATE = 1 + ErrorKind.DUPLICATE
    BACKGROUND = 1 + ErrorKind.BACKGROUND
    MISSED = 1 + ErrorKind.MISSED
    IGNORED = 2 + ErrorKind.MISSED


NO_ERRORS = (Kind.MATCHED, Kind.IGNORED)


class Objects(NamedTuple):
    """Ground truth."""

    boxes: np.ndarray  # (M, 4), XYXY in pixels
    classes: np.ndarray  # (M,)
    is_crowd: np.ndarray  # (M,), bool


class Found(NamedTuple):
    """Detections, the most certain of a picture first."""

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
    """Sort one picture's detections by the kind of their error, as `dyhead report` does."""
    picture = Picture(
        None, "", _as_xywh(truth.boxes), truth.classes, truth.is_crowd, _as_xywh(found.boxes),
        found.classes, found.scores,
    )  # fmt: skip
    matches = match(picture)
    errors = find_errors(picture, matches)
    kinds = (errors.kinds + 1).astype(np.int8)
    kinds[matches.is_ignored] = Kind.IGNORED
    found_at = np.full(len(truth.boxes), -1.0)
    excused_at = found_at.copy()
    found_at[matches.object_of[matches.is_true]] = found.scores[matches.is_true]
    aimed = errors.targets >= 0
    np.maximum.at(excused_at, errors.targets[aimed], found.scores[aimed])
    return Errors(kinds, found_at, excused_at)


def describe_kinds() -> list[dict[str, str]]:
    """Return the name and the meaning of each kind, in the order of their numbers."""
    errors = [{"name": kind.label, "meaning": MEANINGS[kind]} for kind in ErrorKind]
    return [
        {"name": "matched", "meaning": "finds an object of its class (IoU of 0.5 or more)"},
        *errors,
        {"name": "in a crowd", "meaning": "half of it lies in a crowd of its class: not counted"},
    ]


def _as_xywh(boxes: np.ndarray) -> np.ndarray:
    return np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1)
