"""The evaluator gives COCO's numbers on either host, and says what they are of."""

import contextlib
import functools
import json
import logging
import math
import sys

import numpy as np
import pytest
from coco_detections import (
    evaluate,
    give,
    make_annotations,
    make_results,
    pycocotools_scores,
)
from coco_registration import register_annotations
from pycocotools.cocoeval import COCOeval

from dyhead.config import add_dyhead_config
from dyhead.d2.config import get_cfg
from dyhead.d2.data import MetadataCatalog
from dyhead.d2.evaluation import COCOEvaluator
from dyhead.evaluation import coco_evaluation
from dyhead.evaluation.coco_evaluation import build_coco_evaluator
from dyhead.evaluation.evaluators import build_evaluators
from dyhead.evaluation.fast_coco_eval import FastCOCOeval, is_installed

needs_fast = pytest.mark.skipif(not is_installed(), reason="faster-coco-eval is not installed")
either_class = pytest.mark.parametrize(
    "fast", [False, pytest.param(True, marks=needs_fast)], ids=["pycocotools", "faster"]
)


@pytest.fixture
def registered(own_catalogs, tmp_path):
    """Call it with annotations to register them for the test; it returns their name."""
    return functools.partial(register_annotations, folder=tmp_path)


@pytest.fixture
def score(registered, tmp_path):
    """Call it with annotations and results for the scores and the results that were written."""

    def score(annotations, results, fast, kept=100, **options):
        evaluator = build_coco_evaluator(
            registered(annotations), str(tmp_path), fast=fast, kept=kept
        )
        scores = evaluate(evaluator, annotations, results, **options)["bbox"]
        return scores, json.loads((tmp_path / "coco_instances_results.json").read_text())

    return score


@either_class
def test_scores_are_those_of_pycocotools(score, fast):
    annotations = make_annotations(1)
    scores, written = score(annotations, make_results(annotations, 1), fast)
    assert len(written) == len(make_results(annotations, 1))
    expected = pycocotools_scores(annotations, written)
    assert list(scores) == list(expected)  # nothing is said of an evaluation over all images
    assert scores == pytest.approx(expected, abs=1e-9)
    assert 1 < scores["AP"] < 99


@either_class
def test_a_detector_that_found_nothing_scores_0_where_there_are_objects(score, fast):
    annotations = make_annotations(1)
    annotations["annotations"] = [a for a in annotations["annotations"] if a["category_id"] == 7]
    scores, written = score(annotations, [], fast)
    assert written == []
    assert scores == pytest.approx(pycocotools_scores(annotations, []), nan_ok=True)
    assert scores["AP"] == scores["AP-dog"] == 0 and math.isnan(scores["AP-cat"])


@either_class
@pytest.mark.parametrize("left", ["no category but one", "no small objects"])
def test_what_has_no_ground_truth_is_left_out_of_the_mean(score, fast, left):
    annotations = make_annotations(2)
    results = make_results(annotations, 2)
    kept = {
        "no category but one": lambda a: a["category_id"] == 2,
        "no small objects": lambda a: a["area"] > 32**2,
    }[left]
    annotations["annotations"] = [a for a in annotations["annotations"] if kept(a)]
    scores, written = score(annotations, results, fast)
    assert scores == pytest.approx(pycocotools_scores(annotations, written), abs=1e-9, nan_ok=True)
    empty = {"no category but one": "AP-tree", "no small objects": "APs"}[left]
    assert math.isnan(scores[empty]) and scores["AP"] > 0


@either_class
def test_ids_in_any_order_and_with_gaps_are_evaluated_alike(score, fast):
    """The order of the file, and of the images given, changes nothing."""
    annotations = make_annotations(3)
    results = make_results(annotations, 3)
    scores, _ = score(annotations, results, fast)
    turned = {name: entries[::-1] for name, entries in annotations.items() if name != "info"}
    again, _ = score({"info": {}, **turned}, results, fast)
    assert again == pytest.approx(scores, abs=1e-9)


def warnings_of_ours(caplog):
    ours = [r for r in caplog.records if r.name == coco_evaluation.__name__]
    return [r.getMessage() for r in ours if r.levelno == logging.WARNING]


def crowded(num_objects, category_id=2):
    """One image with a grid of objects of one category, and perfect detections of them."""
    annotations = make_annotations(0, num_images=1)
    objects = [
        {
            "id": number + 1,
            "image_id": 100,
            "category_id": category_id,
            "bbox": [20 * (number % 30), 20 * (number // 30), 15, 15],
            "area": 225,
            "iscrowd": 0,
        }
        for number in range(num_objects)
    ]
    scores = np.linspace(0.99, 0.5, num_objects)
    results = [
        {"image_id": 100, "category_id": category_id, "bbox": o["bbox"], "score": float(score)}
        for o, score in zip(objects, scores, strict=True)
    ]
    return {**annotations, "annotations": objects}, results


@either_class
def test_ap_beyond_100_detections_stands_beside_cocos_own(score, fast):
    annotations, results = crowded(300)
    scores, written = score(annotations, results, fast, kept=500)
    found = math.floor(100 / 300 * 100) + 1  # of the 101 recalls 0, 0.01, ...
    assert scores["AP"] == pytest.approx(100 * found / 101)
    assert scores["AP@500"] == scores["AP50@500"] == scores["APs@500"] == pytest.approx(100)
    assert math.isnan(scores["APl@500"])
    at_500 = pycocotools_scores(annotations, written, limit=500)
    for name, value in pycocotools_scores(annotations, written).items():
        assert scores[name] == pytest.approx(value, abs=1e-9, nan_ok=True)
        if not name.startswith("AP-"):
            assert scores[f"{name}@500"] == pytest.approx(at_500[name], abs=1e-9, nan_ok=True)


@either_class
def test_further_numbers_of_noisy_detections_are_those_of_pycocotools(score, fast):
    annotations = make_annotations(4, num_images=3)
    results = make_results(annotations, 4, false_positives=400)
    scores, written = score(annotations, results, fast, kept=300)
    at_300 = pycocotools_scores(annotations, written, limit=300)
    expected = {f"{n}@300": v for n, v in at_300.items() if not n.startswith("AP-")}
    assert {n: scores[n] for n in expected} == pytest.approx(expected, abs=1e-9, nan_ok=True)
    of_coco = pycocotools_scores(annotations, written)
    assert {n: scores[n] for n in of_coco} == pytest.approx(of_coco, abs=1e-9, nan_ok=True)
    assert scores["AP@300"] != scores["AP"]


@pytest.mark.parametrize("kept", [50, 100])
def test_up_to_100_detections_there_are_cocos_numbers_alone(score, kept):
    annotations = make_annotations(1)
    scores, _ = score(annotations, make_results(annotations, 1), False, kept=kept)
    assert not [name for name in scores if "@" in name]


@pytest.mark.parametrize(
    ("num_objects", "kept", "warned"),
    [(300, 500, 1), (300, 100, 2), (100, 100, 0), (300, -1, 1), (100, -1, 0)],
)
def test_objects_beyond_the_limits_are_warned_of(registered, caplog, num_objects, kept, warned):
    build_coco_evaluator(registered(crowded(num_objects)[0]), None, kept=kept)
    messages = warnings_of_ours(caplog)
    assert len(messages) == warned
    if warned:
        assert "at most 100 detections of a category" in messages[0] and "300" in messages[0]
        assert ("AP@500" in messages[0]) == (kept == 500)


@either_class
def test_images_that_were_not_given_are_left_out_and_said(score, registered, caplog, fast):
    """A sampler that gives only some: AP is over these, and says so."""
    annotations = make_annotations(5)
    results = make_results(annotations, 5)
    some = {**annotations, "images": annotations["images"][:7]}
    ids = [image["id"] for image in some["images"]]
    evaluator = build_coco_evaluator(registered(annotations), None, fast=fast)
    scores = evaluate(evaluator, some, results)["bbox"]
    assert (scores["images"], scores["of"]) == (7, 12)
    assert "over 7 of its 12 images" in caplog.text
    _, written = score(annotations, results, fast)
    expected = pycocotools_scores(
        annotations, [r for r in written if r["image_id"] in ids], 100, ids
    )
    assert {n: scores[n] for n in expected} == pytest.approx(expected, abs=1e-9, nan_ok=True)


def test_images_that_are_asked_for_are_said(score):
    annotations = make_annotations(5)
    ids = [100, 107, 107, 128]
    scores, written = score(annotations, make_results(annotations, 5), False, img_ids=ids)
    assert (scores["images"], scores["of"]) == (3, 12)
    expected = pycocotools_scores(annotations, written, 100, ids)
    assert {n: scores[n] for n in expected} == pytest.approx(expected, abs=1e-9, nan_ok=True)


def test_images_that_were_never_given_cannot_be_asked_for(registered):
    annotations = make_annotations(0)
    evaluator = build_coco_evaluator(registered(annotations), None)
    evaluator.reset()
    give(evaluator, 100, [])
    with pytest.raises(ValueError, match="img_ids"):
        evaluator.evaluate(img_ids=[107])


def test_images_that_the_checks_left_out_count_as_left_out(registered):
    annotations = make_annotations(0)
    name = registered(annotations)
    MetadataCatalog.get(name).num_named_images = 15
    scores = evaluate(build_coco_evaluator(name, None), annotations, [])["bbox"]
    assert (scores["images"], scores["of"]) == (12, 15)


@either_class
@pytest.mark.parametrize("truth", ["none", "empty", "crowds"])
def test_without_objects_results_are_written_and_nothing_is_scored(
    registered, tmp_path, caplog, fast, truth
):
    annotations = make_annotations(0)
    results = make_results(annotations, 0)
    name = registered(annotations)
    for annotation in annotations["annotations"]:
        annotation["iscrowd"] = 1
    if truth == "empty":
        annotations["annotations"] = []
    if truth == "none":
        del annotations["annotations"]
    with open(MetadataCatalog.get(name).json_file, "w") as file:
        json.dump(annotations, file)
    evaluator = build_coco_evaluator(name, str(tmp_path), fast=fast)
    assert evaluate(evaluator, annotations, results) == {"bbox": {"images": 12, "of": 12}}
    assert len(json.loads((tmp_path / "coco_instances_results.json").read_text())) == len(results)
    (message,) = warnings_of_ours(caplog)
    assert message.startswith("Nothing to score")


@needs_fast
@pytest.mark.parametrize("fails", [False, True])
def test_the_fast_class_works_and_the_hosts_own_is_back_afterwards(registered, monkeypatch, fails):
    used, original = [], FastCOCOeval.accumulate

    def accumulate(self, p=None):
        used.append(type(self))
        if fails:
            raise RuntimeError("broken")
        original(self, p)

    monkeypatch.setattr(FastCOCOeval, "accumulate", accumulate)
    annotations = make_annotations(1)
    evaluator = build_coco_evaluator(registered(annotations), None)
    with pytest.raises(RuntimeError) if fails else contextlib.nullcontext():
        evaluate(evaluator, annotations, make_results(annotations, 1))
    assert len(used) == 1 and issubclass(used[0], FastCOCOeval)
    assert sys.modules[COCOEvaluator.__module__].COCOeval is COCOeval


@pytest.mark.parametrize("installed", [False, True])
@pytest.mark.parametrize("wanted", [False, True])
def test_the_config_and_the_installation_decide(
    registered, tmp_path, monkeypatch, caplog, installed, wanted
):
    if installed and not is_installed():
        pytest.skip("faster-coco-eval is not installed")
    monkeypatch.setattr(coco_evaluation, "is_installed", lambda: installed)
    cfg = get_cfg()
    add_dyhead_config(cfg)
    assert cfg.TEST.FAST_COCO_EVAL is True
    name = registered(make_annotations(0))
    cfg.TEST.FAST_COCO_EVAL, cfg.OUTPUT_DIR, cfg.DATASETS.TEST = wanted, str(tmp_path), (name,)
    with caplog.at_level(logging.INFO, logger=coco_evaluation.__name__):
        build_evaluators(cfg, name)
    is_fast = installed and wanted
    (message,) = [r.message for r in caplog.records if "AP on" in r.message]
    assert ("faster-coco-eval" in message) == is_fast
