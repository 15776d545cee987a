"""Scores that say how often they are right have no calibration error."""

import math

import numpy as np
import pytest

from dyhead.evaluation.measures.calibration import calibration


def test_honest_scores_have_a_small_error_and_boasting_ones_that_of_their_boast():
    rng = np.random.default_rng(0)
    scores = rng.random(50_000)
    honest = rng.random(50_000) < scores
    assert calibration(scores, honest).error < 0.01
    boasting = rng.random(50_000) < scores / 2
    assert calibration(scores, boasting).error == pytest.approx(0.25, abs=0.01)


def test_the_error_is_the_mean_gap_of_the_bins_by_their_size():
    scores = np.array([0.05, 0.15, 0.15, 0.95, 1.0])
    is_true = np.array([False, True, False, True, True])
    measured = calibration(scores, is_true)
    assert [each.count for each in measured.bins] == [1, 2, 0, 0, 0, 0, 0, 0, 0, 2]
    assert measured.error == pytest.approx((0.05 + 2 * 0.35 + 2 * 0.025) / 5)
    assert measured.bins[9].score == pytest.approx(0.975)
    assert math.isnan(measured.bins[4].precision)


def test_a_score_between_two_bins_belongs_to_the_higher_one():
    measured = calibration(np.array([0.0, 0.5, 1.0]), np.array([False, True, True]))
    assert [i for i, each in enumerate(measured.bins) if each.count] == [0, 5, 9]


@pytest.mark.parametrize("tenth", range(10))
def test_every_edge_belongs_to_the_bin_that_begins_with_it(tenth):
    measured = calibration(np.array([tenth / 10]), np.array([True]))
    assert measured.bins[tenth].count == 1


def test_without_detections_there_is_no_error():
    assert math.isnan(calibration(np.zeros(0), np.zeros(0, dtype=bool)).error)
