"""The best and the worst pictures are those with the highest and the lowest F1."""

import numpy as np

from dyhead.evaluation.measures.error_kinds import find_errors
from dyhead.evaluation.measures.matching import match_all
from dyhead.evaluation.measures.ranking import best, score_pictures, worst


def scores_of(evaluated, threshold):
    matches = match_all(evaluated)
    errors = [find_errors(*pair) for pair in zip(evaluated.pictures, matches, strict=True)]
    return score_pictures(evaluated, matches, errors, np.full(3, threshold))


def test_what_is_found_and_missed_are_all_objects(evaluated):
    for picture, score in zip(evaluated.pictures, scores_of(evaluated, 0.4), strict=True):
        assert score.num_found + score.num_missed == (~picture.is_crowd).sum()
        assert score.num_false == sum(score.kinds.values())


def test_the_worst_come_worst_first_and_the_best_best_first(evaluated):
    scores = scores_of(evaluated, 0.4)
    lowest, highest = worst(scores, 5), best(scores, 5)
    assert len(lowest) == len(highest) == 5
    assert [s.f1 for s in lowest] == sorted(s.f1 for s in scores)[:5]
    assert [s.f1 for s in highest] == sorted((s.f1 for s in highest), reverse=True)
    assert all(each.num_found for each in highest)
    assert lowest[0].f1 <= highest[-1].f1


def test_a_high_threshold_leaves_no_false_detections(evaluated):
    assert not any(score.num_false for score in scores_of(evaluated, 1.1))
