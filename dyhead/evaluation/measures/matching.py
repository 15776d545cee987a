"""Matches detections with objects, as COCO's evaluation does."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from pycocotools import mask as coco_mask

from dyhead.evaluation.measures.pictures import EvaluatedSet, Picture

FOREGROUND = 0.5  # IoU from which on a detection finds an object


@dataclass(frozen=True)
class Matches:
    """Pairs of detections and objects in one picture.

    Attributes:
        overlaps: (M, N) IoU of detections and objects; with a crowd, the share of the detection
            that lies in it.
        object_of: (M,) index of the object that each detection finds, or -1.
        is_ignored: (M,) True for detections within crowds, which do not count.
        is_found: (N,) True for objects that are found.
    """

    overlaps: np.ndarray
    object_of: np.ndarray
    is_ignored: np.ndarray
    is_found: np.ndarray

    @property
    def is_true(self) -> np.ndarray:
        """True for each detection that finds an object, (M,)."""
        return self.object_of >= 0


@dataclass(frozen=True)
class Outcomes:
    """All detections of a data set that count, in the order of the pictures.

    Attributes:
        scores: (D,) from 0 to 1.
        classes: (D,) indices of classes.
        is_true: (D,) True for those that find an object.
        num_objects: (K,) objects of each class, without crowds.
    """

    scores: np.ndarray
    classes: np.ndarray
    is_true: np.ndarray
    num_objects: np.ndarray

    def by_class(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """Return the scores of each class and whether each finds an object, (K,), in their order.

        All classes are split at once: to look for each one among all detections takes K times as
        long.
        """
        order = np.argsort(self.classes, kind="stable")
        starts = np.searchsorted(self.classes[order], np.arange(len(self.num_objects) + 1))
        parts = [order[start:end] for start, end in pairwise(starts.tolist())]
        return [(self.scores[part], self.is_true[part]) for part in parts]


def match(picture: Picture, threshold: float = FOREGROUND) -> Matches:
    """Match one picture: each detection, by falling score, takes the free object it overlaps most.

    Only objects of its class with an IoU of at least `threshold` count. What finds none, but lies
    in a crowd of its class, is ignored.
    """
    overlaps = _overlaps(picture)
    same_class = picture.classes[:, None] == picture.truth_classes[None, :]
    open_overlaps = np.where(same_class & ~picture.is_crowd, overlaps, -1.0)
    object_of = np.full(len(picture.scores), -1)
    for index in np.flatnonzero((open_overlaps >= threshold).any(axis=1)):
        best = int(open_overlaps[index].argmax())
        if open_overlaps[index, best] >= threshold:
            object_of[index] = best
            open_overlaps[:, best] = -1.0
    in_crowd = (np.where(same_class & picture.is_crowd, overlaps, -1.0) >= threshold).any(axis=1)
    is_found = np.zeros(len(picture.truth_boxes), dtype=bool)
    is_found[object_of[object_of >= 0]] = True
    return Matches(overlaps, object_of, in_crowd & (object_of < 0), is_found)


def match_all(evaluated: EvaluatedSet, threshold: float = FOREGROUND) -> list[Matches]:
    """Match every picture."""
    return [match(picture, threshold) for picture in evaluated.pictures]


def outcomes(evaluated: EvaluatedSet, matches: Sequence[Matches]) -> Outcomes:
    """Join what was found in all pictures; `matches` are those of `match_all`."""
    pairs = list(zip(evaluated.pictures, matches, strict=True))
    counted = [~found.is_ignored for _, found in pairs]
    truth = [picture.truth_classes[~picture.is_crowd] for picture, _ in pairs]
    return Outcomes(
        _join([p.scores[c] for (p, _), c in zip(pairs, counted, strict=True)], np.float64),
        _join([p.classes[c] for (p, _), c in zip(pairs, counted, strict=True)], np.int64),
        _join([m.is_true[c] for (_, m), c in zip(pairs, counted, strict=True)], bool),
        np.bincount(_join(truth, np.int64), minlength=len(evaluated.class_names)),
    )


def _overlaps(picture: Picture) -> np.ndarray:
    shape = len(picture.boxes), len(picture.truth_boxes)
    if not all(shape):
        return np.zeros(shape)
    crowds = picture.is_crowd.astype(np.uint8).tolist()
    return np.asarray(coco_mask.iou(picture.boxes, picture.truth_boxes, crowds)).reshape(shape)


def _join(parts: Sequence[np.ndarray], kind: type) -> np.ndarray:
    return np.concatenate([np.zeros(0, kind), *parts]).astype(kind)
