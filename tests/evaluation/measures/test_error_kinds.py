"""Errors are of the kinds, and cost what TIDE says: by hand, and compared with tidecv."""

import numpy as np
import pytest
from coco_detections import make_annotations, make_results, pycocotools_scores
from tidecv_errors import NAMES, tidecv_errors

from dyhead.evaluation.measures.error_kinds import ErrorKind, error_costs, find_errors
from dyhead.evaluation.measures.matching import match_all
from dyhead.evaluation.measures.pictures import evaluated_set

OBJECT, FAR = [100, 100, 100, 100], [400, 400, 50, 50]


def one_picture(objects, detections):
    """A set of one picture; objects are (category, box), detections (category, box, score)."""
    truth = {
        "images": [{"id": 1, "file_name": "1.png"}],
        "categories": [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}],
        "annotations": [
            {"image_id": 1, "category_id": category, "bbox": box, "iscrowd": 0}
            for category, box in objects
        ],
    }
    results = [
        {"image_id": 1, "category_id": category, "bbox": box, "score": score}
        for category, box, score in detections
    ]
    return evaluated_set(truth, results)


def errors_of(evaluated):
    matches = match_all(evaluated)
    return matches, [find_errors(*pair) for pair in zip(evaluated.pictures, matches, strict=True)]


def costs_of(evaluated):
    return error_costs(evaluated, *errors_of(evaluated))


@pytest.mark.parametrize(
    ("detections", "kind"),
    [
        ([(2, OBJECT, 0.9)], ErrorKind.CLASSIFICATION),
        ([(1, [150, 100, 100, 100], 0.9)], ErrorKind.LOCALISATION),
        ([(2, [150, 100, 100, 100], 0.9)], ErrorKind.BOTH),
        ([(1, OBJECT, 0.95), (1, OBJECT, 0.9)], ErrorKind.DUPLICATE),
        ([(1, FAR, 0.9)], ErrorKind.BACKGROUND),
        # an IoU of just 0.1 or 0.5
        ([(1, [100, 100, 100, 10], 0.9)], ErrorKind.LOCALISATION),
        ([(2, [100, 100, 100, 10], 0.9)], ErrorKind.BACKGROUND),
        ([(2, [100, 100, 100, 50], 0.9)], ErrorKind.CLASSIFICATION),
        ([(1, OBJECT, 0.95), (1, [100, 100, 100, 50], 0.9)], ErrorKind.LOCALISATION),
        ([], ErrorKind.MISSED),
    ],
)
def test_each_kind_is_told(detections, kind):
    costs = costs_of(one_picture([(1, OBJECT)], detections))
    found = {each for each in ErrorKind if costs.kinds[each].count}
    # what is both, or nowhere, explains no object: it is missed too
    is_explained = kind not in (ErrorKind.BOTH, ErrorKind.BACKGROUND, ErrorKind.MISSED)
    assert found == ({kind} if is_explained else {kind, ErrorKind.MISSED})
    assert costs.kinds[kind].count == 1


def test_a_detection_in_a_picture_without_objects_is_of_the_background():
    costs = costs_of(one_picture([], [(1, OBJECT, 0.5)]))
    assert costs.kinds[ErrorKind.BACKGROUND].count == 1


def test_a_repaired_class_gives_its_whole_ap_back():
    costs = costs_of(one_picture([(1, OBJECT)], [(2, OBJECT, 0.9)]))
    assert costs.ap50 == 0
    assert costs.kinds[ErrorKind.CLASSIFICATION].gain == pytest.approx(100)
    assert costs.kinds[ErrorKind.BACKGROUND].gain == 0


def test_all_that_is_false_and_all_that_is_not_found_cost_their_ap():
    objects = [(1, OBJECT), (1, [300, 300, 50, 50])]
    costs = costs_of(one_picture(objects, [(1, FAR, 0.95), (1, OBJECT, 0.9)]))
    up_to_half = 51 / 101  # of the places where precision is read
    assert costs.ap50 == pytest.approx(50 * up_to_half)
    assert (costs.false_positives.count, costs.false_negatives.count) == (1, 1)
    assert costs.false_positives.gain == pytest.approx((100 - 50) * up_to_half)
    assert costs.false_negatives.gain == pytest.approx(50 - 50 * up_to_half)
    assert costs.kinds[ErrorKind.BACKGROUND] == costs.false_positives
    assert costs.kinds[ErrorKind.MISSED] == costs.false_negatives


def test_of_two_detections_of_a_wrong_class_the_surer_one_is_repaired():
    (_, (errors,)) = errors_of(one_picture([(1, OBJECT)], [(2, OBJECT, 0.3), (2, OBJECT, 0.9)]))
    assert errors.kinds.tolist() == [ErrorKind.CLASSIFICATION] * 2
    assert errors.repaired.tolist() == [0, -1]


def test_ap50_is_pycocotools_and_every_false_detection_is_of_one_kind(coco, evaluated):
    costs = costs_of(evaluated)
    assert costs.ap50 == pytest.approx(pycocotools_scores(*coco)["AP50"], abs=1e-9)
    of_detections = [costs.kinds[kind].count for kind in ErrorKind if kind != ErrorKind.MISSED]
    assert sum(of_detections) == costs.false_positives.count
    assert costs.kinds[ErrorKind.MISSED].count <= costs.false_negatives.count
    assert all(0 <= cost.gain <= 100 - costs.ap50 + 1e-9 for cost in costs.kinds.values())


def test_without_false_detections_and_lost_objects_ap_is_whole():
    truth = make_annotations(5, crowds=False)
    found = [
        {
            "score": 0.5,
            "image_id": each["image_id"],
            "category_id": each["category_id"],
            "bbox": each["bbox"],
        }
        for each in truth["annotations"]
    ]
    costs = costs_of(evaluated_set(truth, found))
    assert costs.ap50 == pytest.approx(100)
    assert not any(cost.count for cost in costs.kinds.values())


@pytest.mark.parametrize("seed", range(4))
def test_counts_and_gains_are_those_of_tidecv(seed):
    pytest.importorskip("tidecv")
    truth = make_annotations(seed, num_images=30, crowds=False)
    results = make_results(truth, seed)
    own = costs_of(evaluated_set(truth, results))
    reference = tidecv_errors(truth, results)
    gains, counts, special = (reference[name] for name in ("gains", "counts", "special"))
    assert own.ap50 == pytest.approx(reference["ap"], abs=1e-6)
    assert {NAMES[kind]: cost.count for kind, cost in own.kinds.items()} == counts
    for kind, cost in own.kinds.items():
        assert cost.gain == pytest.approx(gains[NAMES[kind]], abs=1e-6), kind
    assert own.false_positives.gain == pytest.approx(special["FalsePos"], abs=1e-6)
    # tidecv rounds recalls that fall on one of the 101 places otherwise than pycocotools
    assert own.false_negatives.gain == pytest.approx(special["FalseNeg"], abs=0.1)
    assert np.count_nonzero(list(counts.values())) >= 5
