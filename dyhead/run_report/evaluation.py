"""Measures all that a report says of the detections on one data set."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from dyhead.evaluation.measures.calibration import Calibration, calibration
from dyhead.evaluation.measures.coco_scores import CocoScores, coco_scores
from dyhead.evaluation.measures.confusion import confusion_matrix
from dyhead.evaluation.measures.error_kinds import (
    ErrorCosts,
    PictureErrors,
    error_costs,
    find_errors,
)
from dyhead.evaluation.measures.matching import match_all, outcomes
from dyhead.evaluation.measures.pictures import EvaluatedSet, evaluated_set
from dyhead.evaluation.measures.precision_recall import (
    Curve,
    OperatingPoint,
    best_point,
    precision_recall,
)
from dyhead.evaluation.measures.ranking import PictureScore, score_pictures


@dataclass(frozen=True)
class Evaluation:
    """The measures of a detector on a data set.

    Attributes:
        evaluated: pictures, objects and detections.
        scores: COCO's.
        num_objects: (K,) of each class, without crowds.
        num_detections: (K,) of each class, without those within crowds.
        curves: precision and recall of each class, at an IoU of 0.5.
        points: the threshold with the best F1 of each class.
        joint_curve: precision and recall of all classes together.
        joint_point: its best threshold.
        confusion: (K + 1, K + 1) see `confusion_matrix`; with `thresholds`.
        costs: of the kinds of errors.
        calibration: of the scores of all classes.
        errors: of each picture.
        pictures: what is right and wrong in each picture, with `thresholds`.
    """

    evaluated: EvaluatedSet
    scores: CocoScores
    num_objects: np.ndarray
    num_detections: np.ndarray
    curves: Sequence[Curve]
    points: Sequence[OperatingPoint]
    joint_curve: Curve
    joint_point: OperatingPoint
    confusion: np.ndarray
    costs: ErrorCosts
    calibration: Calibration
    errors: Sequence[PictureErrors]
    pictures: Sequence[PictureScore]

    @property
    def thresholds(self) -> np.ndarray:
        """The threshold of each class with the best F1, (K,); infinite where nothing is found."""
        return _thresholds(self.points)


def _thresholds(points: Sequence[OperatingPoint]) -> np.ndarray:
    """Return the lowest score that is kept of each class; 1 would keep false ones of score 1."""
    return np.array([point.threshold if point.f1 > 0 else np.inf for point in points])


def measure(truth: Mapping[str, Any], results: Sequence[Mapping[str, Any]]) -> Evaluation:
    """Measure a detector.

    Args:
        truth: in COCO's form, with "area" and "iscrowd" of each annotation.
        results: in COCO's form, with the ids of `truth`.
    """
    evaluated = evaluated_set(truth, results)
    matches = match_all(evaluated)
    found = outcomes(evaluated, matches)
    errors = [find_errors(*pair) for pair in zip(evaluated.pictures, matches, strict=True)]
    num_classes = len(evaluated.class_names)
    curves = [
        precision_recall(scores, is_true, int(number))
        for (scores, is_true), number in zip(found.by_class(), found.num_objects, strict=True)
    ]
    points = [best_point(curve) for curve in curves]
    thresholds = _thresholds(points)
    joint = precision_recall(found.scores, found.is_true, int(found.num_objects.sum()))
    return Evaluation(
        evaluated,
        coco_scores(truth, results),
        found.num_objects,
        np.bincount(found.classes, minlength=num_classes),
        curves,
        points,
        joint,
        best_point(joint),
        confusion_matrix(evaluated, matches, thresholds),
        error_costs(evaluated, matches, errors),
        calibration(found.scores, found.is_true),
        errors,
        score_pictures(evaluated, matches, errors, thresholds),
    )
