"""Confusion matrices count every object and every kept detection once."""

import numpy as np

from dyhead.evaluation.measures.confusion import confusion_matrix
from dyhead.evaluation.measures.matching import match_all
from dyhead.evaluation.measures.pictures import evaluated_set

TRUTH = {
    "images": [{"id": 1, "file_name": "1.png"}],
    "categories": [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}],
    "annotations": [
        {"image_id": 1, "category_id": 1, "bbox": [0, 0, 100, 100], "iscrowd": 0},
        {"image_id": 1, "category_id": 1, "bbox": [200, 0, 100, 100], "iscrowd": 0},
        {"image_id": 1, "category_id": 2, "bbox": [400, 0, 100, 100], "iscrowd": 0},
    ],
}


def found(category, x, score):
    return {"image_id": 1, "category_id": category, "bbox": [x, 0, 100, 100], "score": score}


def test_right_confused_missed_and_false_ones_have_their_cells():
    results = [found(1, 5, 0.9), found(2, 0, 0.95), found(2, 205, 0.8), found(1, 700, 0.7)]
    evaluated = evaluated_set(TRUTH, results)
    counts = confusion_matrix(evaluated, match_all(evaluated), np.array([0.5, 0.5]))
    # the first dog lies best on a cat that is found as one: it is of the background
    assert counts.tolist() == [[1, 1, 0], [0, 0, 1], [1, 1, 0]]


def test_of_two_detections_of_a_wrong_class_the_better_placed_one_is_the_confusion():
    results = [found(2, 210, 0.9), found(2, 205, 0.8)]
    evaluated = evaluated_set(TRUTH, results)
    counts = confusion_matrix(evaluated, match_all(evaluated), np.array([0.5, 0.5]))
    assert counts.tolist() == [[0, 1, 1], [0, 0, 1], [0, 1, 0]]


def test_detections_below_the_threshold_of_their_class_are_left_out():
    evaluated = evaluated_set(TRUTH, [found(1, 0, 0.4), found(2, 400, 0.4)])
    counts = confusion_matrix(evaluated, match_all(evaluated), np.array([0.5, 0.3]))
    assert counts.tolist() == [[0, 0, 2], [0, 1, 0], [0, 0, 0]]


def test_rows_sum_to_the_objects_and_columns_to_the_detections(evaluated):
    matches, thresholds = match_all(evaluated), np.full(3, 0.3)
    counts = confusion_matrix(evaluated, matches, thresholds)
    objects = np.concatenate([p.truth_classes[~p.is_crowd] for p in evaluated.pictures])
    kept = np.concatenate(
        [
            p.classes[(p.scores >= 0.3) & ~m.is_ignored]
            for p, m in zip(evaluated.pictures, matches, strict=True)
        ]
    )
    assert counts[:3].sum(axis=1).tolist() == np.bincount(objects, minlength=3).tolist()
    assert counts[:, :3].sum(axis=0).tolist() == np.bincount(kept, minlength=3).tolist()
    assert counts[3, 3] == 0
