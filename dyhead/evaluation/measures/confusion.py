"""Confusion matrices of detectors, with a class for the background."""

from collections.abc import Sequence

import numpy as np

from dyhead.evaluation.measures.matching import FOREGROUND, Matches
from dyhead.evaluation.measures.pictures import EvaluatedSet, Picture


def confusion_matrix(
    evaluated: EvaluatedSet, matches: Sequence[Matches], thresholds: np.ndarray
) -> np.ndarray:
    """Count which class objects are detected as.

    Detections that find an object of their class are counted first; then the other objects and
    detections that overlap by an IoU of 0.5 or more, the best overlap first.

    Args:
        evaluated: the data set.
        matches: of `match_all` with an IoU of 0.5.
        thresholds: (K,) the lowest score that is kept of each class.

    Returns:
        (K + 1, K + 1) counts by class of the object and class of the detection; the last row has
        detections where no object is, the last column objects that are not detected.
    """
    size = len(evaluated.class_names) + 1
    counts = np.zeros((size, size), dtype=np.int64)
    for picture, found in zip(evaluated.pictures, matches, strict=True):
        kept = picture.scores >= thresholds[picture.classes]
        for actual, detected in _pairs(picture, found, kept):
            row = size - 1 if actual < 0 else picture.truth_classes[actual]
            column = size - 1 if detected < 0 else picture.classes[detected]
            counts[row, column] += 1
    return counts


def _pairs(picture: Picture, found: Matches, kept: np.ndarray) -> list[tuple[int, int]]:
    """Pair every object with a detection; -1 stands for none of either."""
    pairs = [(int(found.object_of[i]), int(i)) for i in np.flatnonzero(kept & found.is_true)]
    is_open = ~picture.is_crowd
    is_open[[actual for actual, _ in pairs]] = False
    is_free = kept & ~found.is_true & ~found.is_ignored
    overlaps = np.where(is_free[:, None] & is_open[None, :], found.overlaps, 0.0)
    while overlaps.size and overlaps.max() >= FOREGROUND:
        detected, actual = (int(i) for i in np.unravel_index(overlaps.argmax(), overlaps.shape))
        pairs.append((actual, detected))
        is_free[detected] = is_open[actual] = False
        overlaps[detected], overlaps[:, actual] = 0.0, 0.0
    pairs += [(int(actual), -1) for actual in np.flatnonzero(is_open)]
    return pairs + [(-1, int(detected)) for detected in np.flatnonzero(is_free)]
