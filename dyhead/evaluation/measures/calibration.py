"""Calibration: detections with a score of 0.7 should find an object in 70% of cases."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

NUM_BINS = 10


@dataclass(frozen=True)
class ScoreBin:
    """Detections with scores from `low` to `high`: their number, mean score and precision."""

    low: float
    high: float
    count: int
    score: float
    precision: float


@dataclass(frozen=True)
class Calibration:
    """A reliability diagram.

    Attributes:
        bins: of equal width, from 0 to 1; score and precision are NaN in empty ones.
        error: the expected calibration error (Guo et al., "On Calibration of Modern Neural
            Networks", ICML 2017, Equation 3), with precision in the place of accuracy; NaN without
            detections.
    """

    bins: Sequence[ScoreBin]
    error: float


def calibration(scores: np.ndarray, is_true: np.ndarray, num_bins: int = NUM_BINS) -> Calibration:
    """Compare scores with precision.

    Args:
        scores: (D,) from 0 to 1.
        is_true: (D,) True for detections that find an object.
        num_bins: a score on the edge of two belongs to the higher one.
    """
    edges = np.arange(num_bins + 1) / num_bins  # 0.3 as it is read; linspace is above it
    places = np.clip(np.searchsorted(edges, scores, side="right") - 1, 0, num_bins - 1)
    counts = np.bincount(places, minlength=num_bins)
    with np.errstate(invalid="ignore"):
        mean_scores = np.bincount(places, scores, num_bins) / counts
        precisions = np.bincount(places, is_true, num_bins) / counts
    gaps = np.abs(mean_scores - precisions)
    error = float(np.nansum(gaps * counts) / len(scores)) if len(scores) else math.nan
    bins = [
        ScoreBin(
            float(edges[i]),
            float(edges[i + 1]),
            int(counts[i]),
            float(mean_scores[i]),
            float(precisions[i]),
        )
        for i in range(num_bins)
    ]
    return Calibration(bins, error)
