"""Ground truth and results become arrays without losing or mixing anything."""

import numpy as np
import pytest

from dyhead.evaluation.measures.pictures import evaluated_set


def scene(num_results):
    truth = {
        "images": [{"id": 5, "file_name": "b.png"}, {"id": 2, "file_name": "a.png"}],
        "categories": [{"id": 9, "name": "dog"}, {"id": 4, "name": "cat"}],
        "annotations": [
            {"image_id": 5, "category_id": 9, "bbox": [1, 2, 3, 4], "iscrowd": 1},
        ],
    }
    results = [
        {"image_id": 5, "category_id": 4 if i % 5 else 9, "bbox": [i, 0, 1, 1], "score": i / 1000}
        for i in range(num_results)
    ]
    return truth, results


def test_pictures_and_classes_come_in_the_order_of_their_ids():
    evaluated = evaluated_set(*scene(0))
    assert list(evaluated.class_names) == ["cat", "dog"]
    assert [picture.image_id for picture in evaluated.pictures] == [2, 5]
    assert evaluated.pictures[1].truth_classes.tolist() == [1]
    assert evaluated.pictures[1].is_crowd.tolist() == [True]
    assert evaluated.pictures[0].boxes.shape == (0, 4)


def test_the_surest_hundred_of_a_class_count_whatever_the_others_are():
    picture = evaluated_set(*scene(250)).pictures[1]
    assert (np.diff(picture.scores) <= 0).all()
    cats, dogs = (picture.boxes[picture.classes == index, 0].tolist() for index in (0, 1))
    assert cats == [i for i in range(249, -1, -1) if i % 5][:100]
    assert dogs == list(range(245, -1, -5))


def test_results_of_a_strange_picture_are_refused():
    truth, results = scene(1)
    with pytest.raises(KeyError, match="image 77"):
        evaluated_set(truth, [{**results[0], "image_id": 77}])
