"""Kinds of a detector's errors, and the AP that each of them costs.

The definitions are those of TIDE (Bolya et al., "TIDE: A General Toolbox for Identifying Object
Detection Errors", ECCV 2020, Section 2). Detections within crowds are left out.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from dyhead.evaluation.measures.matching import FOREGROUND, Matches, Outcomes, outcomes
from dyhead.evaluation.measures.pictures import EvaluatedSet, Picture
from dyhead.evaluation.measures.precision_recall import average_precision

BACKGROUND = 0.1  # IoU up to which a detection touches no object


class ErrorKind(IntEnum):
    """A kind of error; every false detection is of one, and every object no detection explains."""

    CLASSIFICATION = 0
    LOCALISATION = 1
    BOTH = 2
    DUPLICATE = 3
    BACKGROUND = 4
    MISSED = 5

    @property
    def label(self) -> str:
        """The name of the kind for people."""
        both = "classification and localisation"
        return both if self is ErrorKind.BOTH else self.name.lower()


MEANINGS = {
    ErrorKind.CLASSIFICATION: "right place (IoU of 0.5 or more), wrong class",
    ErrorKind.LOCALISATION: "right class, box too far off (IoU of 0.1 to 0.5)",
    ErrorKind.BOTH: "wrong class, and box too far off (IoU between 0.1 and 0.5)",
    ErrorKind.DUPLICATE: "a second detection of an object that is found already",
    ErrorKind.BACKGROUND: "no object there (IoU of 0.1 or less)",
    ErrorKind.MISSED: "an object that no detection explains",
}
_NO_ERROR = -1


@dataclass(frozen=True)
class PictureErrors:
    """The errors in one picture.

    Attributes:
        kinds: (M,) an ErrorKind of each detection, or -1.
        targets: (M,) for errors of class or place the object that the detection would find if it
            was right; else -1.
        repaired: (M,) the same, for the most certain detection alone that would find the object.
        is_missed: (N,) True for objects that no detection explains.
    """

    kinds: np.ndarray
    targets: np.ndarray
    repaired: np.ndarray
    is_missed: np.ndarray


@dataclass(frozen=True)
class ErrorCost:
    """The number of errors of a kind, and the AP50 (0 to 100) that is gained without them."""

    count: int
    gain: float


@dataclass(frozen=True)
class ErrorCosts:
    """The costs of all kinds, and of all false detections and all objects not found.

    Attributes:
        ap50: of the detector as it is, from 0 to 100.
        kinds: by kind; gains do not add up.
        false_positives: the gain if nothing false was detected.
        false_negatives: the gain if the objects that were not found were not there.
    """

    ap50: float
    kinds: dict[ErrorKind, ErrorCost]
    false_positives: ErrorCost
    false_negatives: ErrorCost


def find_errors(picture: Picture, matches: Matches) -> PictureErrors:
    """Find the kind of each error in a picture.

    Args:
        picture: with its detections by falling score.
        matches: of `match` with an IoU of 0.5.
    """
    is_object = ~picture.is_crowd
    same_class = picture.classes[:, None] == picture.truth_classes[None, :]
    own = np.where(is_object & same_class, matches.overlaps, 0.0)
    others = np.where(is_object & ~same_class, matches.overlaps, 0.0)
    kinds = np.full(len(picture.scores), int(_NO_ERROR))
    targets = np.full(len(picture.scores), -1)
    for index in np.flatnonzero(~matches.is_true & ~matches.is_ignored):
        kinds[index], targets[index] = _kind(own[index], others[index], matches.is_found)
    repaired = np.full(len(picture.scores), -1)
    explained = matches.is_found.copy()
    for index in np.flatnonzero(targets >= 0):  # the most certain first
        if not explained[targets[index]]:
            repaired[index], explained[targets[index]] = targets[index], True
    return PictureErrors(kinds, targets, repaired, is_object & ~explained)


def _kind(own: np.ndarray, others: np.ndarray, is_found: np.ndarray) -> tuple[int, int]:
    """Return the kind of a false detection, and the object that it would find if it was right.

    Args:
        own: (N,) IoU with objects of its class, 0 with others.
        others: (N,) IoU with objects of other classes.
        is_found: (N,) True for objects that another detection finds.
    """
    if not len(own):
        return ErrorKind.BACKGROUND, -1
    if BACKGROUND <= own.max() <= FOREGROUND:
        return ErrorKind.LOCALISATION, int(own.argmax())
    if others.max() >= FOREGROUND:
        return ErrorKind.CLASSIFICATION, int(others.argmax())
    if (own * is_found).max() >= FOREGROUND:
        return ErrorKind.DUPLICATE, -1
    if max(own.max(), others.max()) <= BACKGROUND:
        return ErrorKind.BACKGROUND, -1
    return ErrorKind.BOTH, -1


def error_costs(
    evaluated: EvaluatedSet, matches: Sequence[Matches], errors: Sequence[PictureErrors]
) -> ErrorCosts:
    """Count the errors, and compute the AP50 that would be gained by repairing each kind.

    A detection of a wrong class or place is repaired where it would be the first to find its
    object, and left out otherwise, as are detections of the other kinds. Missed objects are taken
    out of those to be found.
    """
    found = outcomes(evaluated, matches)
    ap50 = _mean_ap(found)
    kinds = {
        kind: ErrorCost(
            _count(kind, errors),
            _gain(_mean_ap(_repaired(kind, evaluated, matches, errors)), ap50),
        )
        for kind in ErrorKind
    }
    true = found.is_true
    only_true = Outcomes(found.scores[true], found.classes[true], true[true], found.num_objects)
    num_found = np.bincount(found.classes[true], minlength=len(found.num_objects))
    only_found = Outcomes(found.scores, found.classes, true, num_found)
    num_missed = int(found.num_objects.sum() - num_found.sum())
    return ErrorCosts(
        ap50,
        kinds,
        ErrorCost(int((~true).sum()), _gain(_mean_ap(only_true), ap50)),
        ErrorCost(num_missed, _gain(_mean_ap(only_found), ap50)),
    )


def _count(kind: ErrorKind, errors: Sequence[PictureErrors]) -> int:
    if kind is ErrorKind.MISSED:
        return sum(int(each.is_missed.sum()) for each in errors)
    return sum(int((each.kinds == kind).sum()) for each in errors)


def _repaired(
    kind: ErrorKind,
    evaluated: EvaluatedSet,
    matches: Sequence[Matches],
    errors: Sequence[PictureErrors],
) -> Outcomes:
    """Return the outcomes without the errors of a kind."""
    scores, classes, is_true = [], [], []
    num_objects = outcomes(evaluated, matches).num_objects.copy()
    for picture, found, wrong in zip(evaluated.pictures, matches, errors, strict=True):
        of_kind = wrong.kinds == kind
        is_right = of_kind & (wrong.repaired >= 0)
        kept = ~found.is_ignored & (~of_kind | is_right)
        repaired_classes = picture.classes.copy()
        repaired_classes[is_right] = picture.truth_classes[wrong.repaired[is_right]]
        scores.append(picture.scores[kept])
        classes.append(repaired_classes[kept])
        is_true.append((found.is_true | is_right)[kept])
        if kind is ErrorKind.MISSED:
            np.subtract.at(num_objects, picture.truth_classes[wrong.is_missed], 1)
    return Outcomes(
        np.concatenate(scores), np.concatenate(classes), np.concatenate(is_true), num_objects
    )


def _mean_ap(found: Outcomes) -> float:
    """Compute the mean AP of the classes that have objects, from 0 to 100."""
    values = [
        average_precision(scores, is_true, int(number))
        for (scores, is_true), number in zip(found.by_class(), found.num_objects, strict=True)
        if number
    ]
    return float(np.mean(values)) if values else math.nan


def _gain(repaired: float, before: float) -> float:
    """Return the difference; a negative one is due to the places where precision is read."""
    return max(repaired - before, 0.0) if math.isfinite(repaired) else 0.0
