"""Precision, recall and F1 by score threshold, and the threshold with the best F1."""

import math
from dataclasses import dataclass

import numpy as np

CURVE_POINTS = 200  # of the many that a curve has: more are not seen
_RECALLS = np.linspace(0, 1, 101)  # at which COCO reads precision


@dataclass(frozen=True)
class Curve:
    """Precision and recall of one class by score threshold.

    Attributes:
        thresholds: (T,) scores, falling: the detections with at least this score are kept.
        precision: (T,) share of them that find an object.
        recall: (T,) share of the objects that they find; NaN without objects.
    """

    thresholds: np.ndarray
    precision: np.ndarray
    recall: np.ndarray

    @property
    def f1(self) -> np.ndarray:
        """The harmonic mean of precision and recall, (T,)."""
        total = self.precision + self.recall
        return np.divide(
            2 * self.precision * self.recall, total, out=np.zeros_like(total), where=total > 0
        )


@dataclass(frozen=True)
class OperatingPoint:
    """A score threshold, and what is reached with it; NaN where there is nothing to find."""

    threshold: float
    f1: float
    precision: float
    recall: float


def precision_recall(scores: np.ndarray, is_true: np.ndarray, num_objects: int) -> Curve:
    """Compute the curve of one class.

    Args:
        scores: (D,) of its detections.
        is_true: (D,) True for those that find an object.
        num_objects: the objects to be found.
    """
    order = np.argsort(-scores, kind="stable")
    ordered, hits = scores[order], np.cumsum(is_true[order])
    lasts = np.flatnonzero(np.append(ordered[1:] != ordered[:-1], np.ones(min(len(scores), 1))))
    found = hits[lasts]
    recall = found / num_objects if num_objects else np.full(len(lasts), math.nan)
    return Curve(ordered[lasts], found / (lasts + 1), recall)


def thinned(curve: Curve, limit: int = CURVE_POINTS) -> Curve:
    """Return about so many points of a curve, evenly spread along it; first and last are kept."""
    if len(curve.thresholds) <= limit:
        return curve
    sides = np.nan_to_num(np.stack([curve.thresholds, curve.precision, curve.recall]))
    length = np.append(0.0, np.abs(np.diff(sides)).sum(axis=0).cumsum())
    places = np.searchsorted(length, np.linspace(0, length[-1], limit))
    places = np.unique(np.append(places, len(length) - 1))
    return Curve(curve.thresholds[places], curve.precision[places], curve.recall[places])


def average_precision(scores: np.ndarray, is_true: np.ndarray, num_objects: int) -> float:
    """Compute COCO's AP at one IoU threshold, from 0 to 100; NaN without objects.

    It is the mean of the interpolated precision at the recalls 0, 0.01, ... 1.
    """
    if not num_objects:
        return math.nan
    hits = np.cumsum(is_true[np.argsort(-scores, kind="stable")])
    precision = hits / np.arange(1, len(hits) + 1)
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    places = np.searchsorted(hits / num_objects, _RECALLS, side="left")
    reached = places < len(hits)
    return float(100 * envelope[places[reached]].sum() / len(_RECALLS))


def best_point(curve: Curve) -> OperatingPoint:
    """Return the point with the highest F1, of equals that with the highest threshold.

    Where nothing is found the threshold is 1, which still keeps detections with a score of 1.
    """
    if not len(curve.thresholds) or not np.isfinite(curve.recall).all():
        return OperatingPoint(1.0, math.nan, math.nan, math.nan)
    f1 = curve.f1
    best = int(f1.argmax())
    if not f1[best]:
        return OperatingPoint(1.0, 0.0, math.nan, 0.0)
    return OperatingPoint(
        *(float(each[best]) for each in (curve.thresholds, f1, curve.precision, curve.recall))
    )
