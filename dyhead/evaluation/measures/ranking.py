"""The pictures in which a detector does best and worst."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dyhead.evaluation.measures.error_kinds import ErrorKind, PictureErrors
from dyhead.evaluation.measures.matching import Matches
from dyhead.evaluation.measures.pictures import EvaluatedSet


@dataclass(frozen=True)
class PictureScore:
    """The score of one picture, with the thresholds of the classes applied.

    Attributes:
        index: of the picture.
        num_found: objects that are found.
        num_false: detections that find none.
        num_missed: objects that are not found.
        kinds: numbers of the false detections by kind.
    """

    index: int
    num_found: int
    num_false: int
    num_missed: int
    kinds: Counter[ErrorKind]

    @property
    def f1(self) -> float:
        """F1 of the picture; 1 where there is nothing, and nothing is found."""
        total = 2 * self.num_found + self.num_false + self.num_missed
        return 2 * self.num_found / total if total else 1.0

    @property
    def num_wrong(self) -> int:
        """False detections and objects that are not found."""
        return self.num_false + self.num_missed


def score_pictures(
    evaluated: EvaluatedSet,
    matches: Sequence[Matches],
    errors: Sequence[PictureErrors],
    thresholds: np.ndarray,
) -> list[PictureScore]:
    """Score every picture.

    Args:
        evaluated: the data set.
        matches: of `match_all` with an IoU of 0.5.
        errors: of `find_errors`.
        thresholds: (K,) the lowest score that is kept of each class.
    """
    scores = []
    triples = zip(evaluated.pictures, matches, errors, strict=True)
    for index, (picture, found, wrong) in enumerate(triples):
        kept = (picture.scores >= thresholds[picture.classes]) & ~found.is_ignored
        num_found = int((kept & found.is_true).sum())
        kinds = Counter(ErrorKind(kind) for kind in wrong.kinds[kept & ~found.is_true])
        num_missed = int((~picture.is_crowd).sum()) - num_found
        scores.append(PictureScore(index, num_found, kinds.total(), num_missed, kinds))
    return scores


def worst(scores: Sequence[PictureScore], number: int) -> list[PictureScore]:
    """Return the pictures with the lowest F1, of equals those with most errors, if any is wrong."""
    wrong = [each for each in scores if each.num_wrong]
    return sorted(wrong, key=lambda each: (each.f1, -each.num_wrong, each.index))[:number]


def best(scores: Sequence[PictureScore], number: int) -> list[PictureScore]:
    """Return the pictures with the highest F1, of equals those with most objects that are found."""
    right = [each for each in scores if each.num_found]
    return sorted(right, key=lambda each: (-each.f1, -each.num_found, each.index))[:number]
