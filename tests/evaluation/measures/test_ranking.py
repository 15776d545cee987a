"""The best and the worst pictures are those with the highest and the lowest F1."""

from collections import Counter

import numpy as np

from dyhead.evaluation.measures.error_kinds import find_errors
from dyhead.evaluation.measures.matching import match_all
from dyhead.evaluation.measures.pictures import evaluated_set
from dyhead.evaluation.measures.ranking import PictureScore, best, score_pictures, worst


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


def test_f1_is_that_of_the_detections_from_the_threshold_on():
    truth = {
        "images": [{"id": 1, "file_name": "1.png"}],
        "categories": [{"id": number, "name": str(number)} for number in (1, 2, 3)],
        "annotations": [
            {"image_id": 1, "category_id": 1, "bbox": [x, 0, 50, 50]} for x in (0, 100, 200)
        ],
    }
    results = [
        {"image_id": 1, "category_id": 1, "bbox": [x, 0, 50, 50], "score": score}
        for x, score in ((0, 0.9), (100, 0.4), (200, 0.3), (400, 0.5), (500, 0.2))
    ]
    (score,) = scores_of(evaluated_set(truth, results), 0.4)
    assert (score.num_found, score.num_false, score.num_missed) == (2, 1, 1)
    assert score.f1 == 2 * 2 / (2 * 2 + 1 + 1) and score.num_wrong == 2


def test_of_equals_those_with_most_errors_are_the_worst_and_with_most_objects_the_best():
    numbers = [(0, 1, 0), (0, 2, 1), (0, 1, 0), (1, 0, 0), (3, 0, 0), (1, 0, 0), (0, 0, 0)]
    scores = [PictureScore(index, *each, Counter()) for index, each in enumerate(numbers)]
    assert [each.index for each in worst(scores, 9)] == [1, 0, 2]
    assert [each.index for each in best(scores, 9)] == [4, 3, 5]
    assert scores[6].f1 == 1  # there is nothing, and nothing is found


def test_a_high_threshold_leaves_no_false_detections(evaluated):
    assert not any(score.num_false for score in scores_of(evaluated, 1.1))
