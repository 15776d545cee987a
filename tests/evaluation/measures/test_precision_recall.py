"""Precision, recall, F1 and AP agree with pycocotools and with counting by hand."""

import math

import numpy as np
import pytest
from coco_detections import NAMES, pycocotools_scores

from dyhead.evaluation.measures.matching import match_all, outcomes
from dyhead.evaluation.measures.precision_recall import (
    average_precision,
    best_point,
    precision_recall,
    thinned,
)


@pytest.mark.parametrize("threshold", [0.5])
def test_the_mean_ap_of_the_classes_is_pycocotools_ap50(coco, evaluated, threshold):
    found = outcomes(evaluated, match_all(evaluated, threshold))
    values = [
        average_precision(
            found.scores[found.classes == i], found.is_true[found.classes == i], number
        )
        for i, number in enumerate(found.num_objects)
    ]
    assert len(values) == len(NAMES)
    assert np.mean(values) == pytest.approx(pycocotools_scores(*coco)["AP50"], abs=1e-9)


def test_precision_and_recall_are_those_of_the_detections_that_a_threshold_keeps():
    rng = np.random.default_rng(3)
    scores, is_true = rng.integers(0, 20, 80) / 20, rng.random(80) < 0.6
    curve = precision_recall(scores, is_true, 100)
    assert curve.thresholds.tolist() == sorted(set(scores.tolist()), reverse=True)
    for threshold, precision, recall in zip(
        curve.thresholds, curve.precision, curve.recall, strict=True
    ):
        kept = is_true[scores >= threshold]
        assert precision == pytest.approx(kept.mean())
        assert recall == pytest.approx(kept.sum() / 100)


def test_no_threshold_has_a_higher_f1_than_the_best():
    rng = np.random.default_rng(4)
    scores = rng.random(200)
    is_true = rng.random(200) < scores
    point = best_point(precision_recall(scores, is_true, 120))

    def f1(threshold):
        kept = is_true[scores >= threshold]
        return 2 * kept.sum() / (len(kept) + 120)

    assert point.f1 == pytest.approx(f1(point.threshold))
    assert point.f1 >= max(f1(each) for each in np.linspace(0, 1, 1001)) - 1e-12
    assert 0.2 < point.threshold < 0.8


def test_without_objects_there_is_no_score_and_without_detections_it_is_zero():
    nothing = np.zeros(0), np.zeros(0, dtype=bool)
    some = np.array([0.9]), np.array([False])
    assert math.isnan(average_precision(*some, 0))
    assert average_precision(*nothing, 5) == 0
    assert math.isnan(best_point(precision_recall(*some, 0)).f1)
    assert math.isnan(best_point(precision_recall(*nothing, 5)).f1)
    point = best_point(precision_recall(*some, 5))
    assert (point.threshold, point.f1, point.recall) == (1, 0, 0) and math.isnan(point.precision)


def test_a_thinned_curve_has_its_ends_and_points_along_all_of_it():
    scores = np.linspace(1, 0, 5000)
    curve = precision_recall(scores, np.arange(5000) % 3 > 0, 5000)
    few = thinned(curve, 50)
    assert 40 <= len(few.thresholds) <= 51
    places = np.searchsorted(-curve.thresholds, -few.thresholds)
    assert (places[0], places[-1]) == (0, 4999)
    sides = np.stack([curve.thresholds, curve.precision, curve.recall])
    length = np.abs(np.diff(sides)).sum(axis=0).cumsum()
    assert np.diff(length[places[1:] - 1]).max() < 1.5 * length[-1] / 49
    np.testing.assert_array_equal(few.precision, curve.precision[places])
    np.testing.assert_array_equal(few.recall, curve.recall[places])
    assert thinned(few, len(few.thresholds)) is few
