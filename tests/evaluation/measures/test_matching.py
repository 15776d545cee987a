"""Detections and objects are matched as pycocotools matches them."""

import contextlib
import io

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from dyhead.evaluation.measures.matching import Outcomes, match, match_all, outcomes
from dyhead.evaluation.measures.pictures import Picture


def evaluated_images(truth, results):
    """Return pycocotools' own matches for all sizes, by image and class."""
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = truth
        coco.createIndex()
        evaluation = COCOeval(coco, coco.loadRes(results), "bbox")
        evaluation.evaluate()
    everything = list(evaluation.params.areaRng[0])
    return [e for e in evaluation.evalImgs if e is not None and e["aRng"] == everything]


@pytest.mark.parametrize(("threshold", "row"), [(0.5, 0), (0.75, 5)])
def test_what_is_true_and_what_is_ignored_is_as_in_pycocotools(coco, evaluated, threshold, row):
    categories = sorted(category["id"] for category in coco[0]["categories"])
    matched = dict(
        zip([p.image_id for p in evaluated.pictures], match_all(evaluated, threshold), strict=True)
    )
    pictures = {picture.image_id: picture for picture in evaluated.pictures}
    seen = 0
    for reference in evaluated_images(*coco):
        picture, own = pictures[reference["image_id"]], matched[reference["image_id"]]
        of_class = picture.classes == categories.index(reference["category_id"])
        ignored = reference["dtIgnore"][row].astype(bool)
        is_true = (reference["dtMatches"][row] > 0) & ~ignored
        np.testing.assert_allclose(picture.scores[of_class], reference["dtScores"])
        assert own.is_true[of_class].tolist() == is_true.tolist()
        assert own.is_ignored[of_class].tolist() == ignored.tolist()
        seen += of_class.sum()
    assert seen == sum(len(picture.scores) for picture in evaluated.pictures) > 100


def test_an_overlap_of_just_the_threshold_is_enough():
    truth = np.array([[0.0, 0, 8, 8]]), np.array([0]), np.array([False])
    picture = Picture(1, "a.png", *truth, np.array([[0.0, 0, 8, 4]]), np.array([0]), np.ones(1))
    assert match(picture, 0.5).is_true.all()
    assert not match(picture, 0.501).is_true.any()


def test_every_true_detection_has_an_object_of_its_own(evaluated):
    for picture, found in zip(evaluated.pictures, match_all(evaluated), strict=True):
        taken = found.object_of[found.is_true]
        assert len(set(taken.tolist())) == len(taken) == found.is_found.sum()
        assert not picture.is_crowd[taken].any()


def test_outcomes_count_objects_without_crowds_and_leave_ignored_detections_out(coco, evaluated):
    matches = match_all(evaluated)
    found = outcomes(evaluated, matches)
    assert found.num_objects.sum() == sum(not a["iscrowd"] for a in coco[0]["annotations"])
    ignored = sum(each.is_ignored.sum() for each in matches)
    assert ignored > 0
    assert len(found.scores) == sum(len(p.scores) for p in evaluated.pictures) - ignored


@pytest.mark.parametrize("num_classes", [1, 7, 40])
def test_detections_split_by_class_are_those_found_one_class_at_a_time(num_classes):
    rng = np.random.default_rng(num_classes)
    classes = rng.integers(0, num_classes, 500)
    classes[classes == 3] = 0  # a class without detections
    outcomes = Outcomes(
        rng.integers(0, 9, 500) / 8,  # equal scores keep their order
        classes,
        rng.random(500) < 0.4,
        rng.integers(0, 20, num_classes),
    )
    expected = [
        (outcomes.scores[classes == index], outcomes.is_true[classes == index])
        for index in range(num_classes)
    ]
    found = outcomes.by_class()
    assert len(found) == num_classes
    for (scores, is_true), reference in zip(found, expected, strict=True):
        np.testing.assert_array_equal(scores, reference[0])
        np.testing.assert_array_equal(is_true, reference[1])


def test_no_detection_leaves_each_class_empty():
    none = Outcomes(np.zeros(0), np.zeros(0, np.int64), np.zeros(0, bool), np.array([2, 0, 1]))
    assert [(len(scores), len(is_true)) for scores, is_true in none.by_class()] == [(0, 0)] * 3
