"""FastCOCOeval computes what pycocotools computes."""

import contextlib
import io
import json

import numpy as np
import pytest
from coco_detections import make_annotations, make_results
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from dyhead.evaluation.fast_coco_eval import FastCOCOeval, is_installed

pytestmark = pytest.mark.skipif(not is_installed(), reason="faster-coco-eval is not installed")


def scored(cls, annotations, results, **parameters):
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        truth = COCO()
        truth.dataset = json.loads(json.dumps(annotations))
        truth.createIndex()
        evaluation = cls(truth, truth.loadRes(json.loads(json.dumps(results))), "bbox")
        for name, value in parameters.items():
            setattr(evaluation.params, name, value)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    lines = [line for line in printed.getvalue().splitlines() if " Average " in line]
    return evaluation, lines


def assert_same(annotations, results, **parameters):
    ours, our_lines = scored(FastCOCOeval, annotations, results, **parameters)
    theirs, their_lines = scored(COCOeval, annotations, results, **parameters)
    assert len(theirs.stats) == 12 and -1 < theirs.stats[0] < 1
    np.testing.assert_allclose(ours.stats, theirs.stats, rtol=0, atol=1e-12)
    for name in ("precision", "recall", "scores"):
        np.testing.assert_allclose(ours.eval[name], theirs.eval[name], rtol=0, atol=1e-12)
    assert our_lines == their_lines and len(our_lines) == 12


@pytest.mark.parametrize("seed", range(5))
def test_all_twelve_numbers_are_those_of_pycocotools(seed):
    annotations = make_annotations(seed)
    assert_same(annotations, make_results(annotations, seed))


@pytest.mark.parametrize(
    ("made", "found"),
    [
        ({"crowds": False}, {}),
        ({"num_images": 2}, {"false_positives": 400}),  # more than 100 detections of an image
        ({}, {"digits": 1}),  # many equal scores
        ({"first_id": 0}, {}),  # pycocotools overlooks the object of id 0
        ({"num_images": 5}, {"false_positives": 0}),
    ],
    ids=["no crowds", "beyond max dets", "ties", "id 0", "few"],
)
def test_special_cases_are_those_of_pycocotools_too(made, found):
    annotations = make_annotations(7, **made)
    assert_same(annotations, make_results(annotations, 7, **found))


@pytest.mark.parametrize(
    "parameters",
    [
        {"imgIds": [107, 100, 128, 128]},  # unsorted, repeated, one without objects
        {"maxDets": [1, 5, 100]},
        {"catIds": [90, 2]},
        {"useCats": 0},
    ],
    ids=lambda parameters: "-".join(parameters),
)
def test_settings_are_followed(parameters):
    annotations = make_annotations(3)
    assert_same(annotations, make_results(annotations, 3), **parameters)
