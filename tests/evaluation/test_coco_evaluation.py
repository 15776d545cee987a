"""Scores by faster-coco-eval, where it is installed, equal those of pycocotools."""

import contextlib
import functools
import io
import json
import logging
import sys

import numpy as np
import pytest
import torch
from coco_registration import register_annotations
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from dyhead.config import add_dyhead_config
from dyhead.d2.config import get_cfg
from dyhead.d2.evaluation import COCOEvaluator
from dyhead.d2.structures import Boxes, Instances
from dyhead.evaluation import coco_evaluation
from dyhead.evaluation.coco_evaluation import (
    FastCOCOeval,
    FastCOCOEvaluator,
    build_coco_evaluator,
    is_installed,
)
from dyhead.evaluation.evaluators import build_evaluators

needs_fast = pytest.mark.skipif(not is_installed(), reason="faster-coco-eval is not installed")

CATEGORY_IDS = (2, 7, 90)
NAMES = ("cat", "dog", "tree")


def random_boxes(rng, count):
    sizes = np.exp(rng.uniform(np.log(8), np.log(250), (count, 2)))
    return np.concatenate([rng.uniform(0, 300, (count, 2)), sizes], axis=1)


def make_annotations(seed, num_images=12, crowds=True, first_id=1):
    """Objects with ids and image ids with gaps; some images and sizes without any; crowds."""
    rng = np.random.default_rng(seed)
    annotations = []
    for i in range(num_images):
        for box in random_boxes(rng, 0 if i % 5 == 4 else int(rng.integers(1, 12))):
            annotations.append(
                {
                    "id": first_id + 3 * len(annotations),
                    "image_id": 100 + 7 * i,
                    "category_id": int(rng.choice(CATEGORY_IDS)),
                    "bbox": box.tolist(),
                    "area": float(box[2] * box[3] * rng.uniform(0.5, 1)),
                    "iscrowd": int(crowds and rng.random() < 0.15),
                }
            )
    images = [
        {"id": 100 + 7 * i, "file_name": f"{i}.png", "height": 600, "width": 600}
        for i in range(num_images)
    ]
    categories = [{"id": i, "name": n} for i, n in zip(CATEGORY_IDS, NAMES, strict=True)]
    return {"info": {}, "images": images, "annotations": annotations, "categories": categories}


def make_results(annotations, seed, false_positives=20, digits=None):
    """Objects found with a shift, some twice, some lost; false ones in every third image."""
    rng = np.random.default_rng(1000 + seed)
    results = []

    def add(image_id, category, box):
        score = float(rng.random())
        results.append(
            {
                "image_id": image_id,
                "category_id": int(category),
                "bbox": [float(x) for x in box],
                "score": score if digits is None else round(score, digits),
            }
        )

    for annotation in annotations["annotations"]:
        for _ in range(int(rng.integers(0, 3))):
            box = np.array(annotation["bbox"])
            add(
                annotation["image_id"],
                annotation["category_id"] if rng.random() < 0.8 else rng.choice(CATEGORY_IDS),
                box + np.append(rng.normal(0, 0.08, 2) * box[2:], rng.normal(0, 1, 2)),
            )
    for image in annotations["images"][::3]:
        for box in random_boxes(rng, false_positives):
            add(image["id"], rng.choice(CATEGORY_IDS), box)
    return results


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


@needs_fast
@pytest.mark.parametrize("seed", range(5))
def test_all_twelve_numbers_are_those_of_pycocotools(seed):
    annotations = make_annotations(seed)
    assert_same(annotations, make_results(annotations, seed))


@needs_fast
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


@needs_fast
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


@pytest.fixture
def registered(own_catalogs, tmp_path):
    """Call it with annotations to register them for the test; it returns their name."""
    return functools.partial(register_annotations, folder=tmp_path)


def evaluate(evaluator, annotations, results):
    evaluator.reset()
    for image in annotations["images"]:
        found = [r for r in results if r["image_id"] == image["id"]]
        boxes = torch.tensor([r["bbox"] for r in found]).reshape(-1, 4)
        boxes[:, 2:] += boxes[:, :2]
        instances = Instances((600, 600))
        instances.pred_boxes = Boxes(boxes)
        instances.scores = torch.tensor([r["score"] for r in found])
        classes = [CATEGORY_IDS.index(r["category_id"]) for r in found]
        instances.pred_classes = torch.tensor(classes, dtype=torch.int64)
        evaluator.process([{"image_id": image["id"]}], [{"instances": instances}])
    return evaluator.evaluate()


@needs_fast
@pytest.mark.parametrize("empty", [False, True])
def test_the_hosts_evaluator_gives_the_same_scores(registered, tmp_path, empty):
    annotations = make_annotations(1)
    results = [] if empty else make_results(annotations, 1)
    name = registered(annotations)
    fast = build_coco_evaluator(name, str(tmp_path / "fast"))
    assert type(fast) is FastCOCOEvaluator
    ours = evaluate(fast, annotations, results)["bbox"]
    theirs = evaluate(build_coco_evaluator(name, None, fast=False), annotations, results)["bbox"]
    assert ours.keys() == theirs.keys()
    np.testing.assert_allclose(list(ours.values()), list(theirs.values()), rtol=0, atol=1e-9)
    assert len(json.loads((tmp_path / "fast/coco_instances_results.json").read_text())) == len(
        results
    )


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
    assert used == [FastCOCOeval]
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
        evaluators = build_evaluators(cfg, name)
    is_fast = installed and wanted
    assert any(isinstance(e, FastCOCOEvaluator) for e in evaluators) == is_fast
    (message,) = [r.message for r in caplog.records if "AP on" in r.message]
    assert ("faster-coco-eval" in message) == is_fast
