"""Box AP of the host against pycocotools used directly."""

import contextlib
import functools
import io
import itertools
import json
import math
import uuid

import numpy as np
import pytest
import torch
from coco_registration import register_annotations
from embedded_host.data import MetadataCatalog as EmbeddedCatalog
from embedded_host.evaluation import COCOEvaluator as EmbeddedEvaluator
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from dyhead.d2 import HOST
from dyhead.d2.config import get_cfg
from dyhead.d2.data import DatasetCatalog, MetadataCatalog
from dyhead.d2.evaluation import COCOEvaluator
from dyhead.d2.structures import Boxes, Instances

CATEGORY_IDS = (3, 7, 90)  # with gaps
NAMES = ("cat", "dog", "tree")
METRICS = ("AP", "AP50", "AP75", "APs", "APm", "APl")


def make_annotations(num_images: int = 6, boxes_per_image: int = 8) -> dict:
    rng = np.random.default_rng(0)
    annotations = []
    for image_id in range(1, num_images + 1):
        for _ in range(boxes_per_image):
            size = np.exp(rng.uniform(np.log(10), np.log(150), 2))
            x, y = rng.uniform(0, 200 - size / 2)
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": 10 * image_id,
                    "category_id": int(rng.choice(CATEGORY_IDS)),
                    "bbox": [float(x), float(y), float(size[0]), float(size[1])],
                    "area": float(size.prod()),
                    "iscrowd": 0,
                }
            )
    images = [
        {"id": 10 * i, "file_name": f"{i}.png", "height": 400, "width": 400}
        for i in range(1, num_images + 1)
    ]
    categories = [{"id": i, "name": n} for i, n in zip(CATEGORY_IDS, NAMES, strict=True)]
    return {"images": images, "annotations": annotations, "categories": categories}


@pytest.fixture
def registered(own_catalogs, tmp_path):
    """Call it with annotations to register them for the test; it returns their name."""
    return functools.partial(register_annotations, folder=tmp_path)


def noisy_detections(annotations: dict) -> dict[int, Instances]:
    """For each image its boxes moved a little, some lost, some of a wrong class, some invented."""
    rng = np.random.default_rng(1)
    detections = {}
    for image in annotations["images"]:
        boxes, scores, classes = [], [], []
        for annotation in annotations["annotations"]:
            if annotation["image_id"] != image["id"] or rng.random() < 0.2:
                continue
            x, y, w, h = np.array(annotation["bbox"]) + rng.normal(0, 3, 4)
            boxes.append([x, y, x + abs(w), y + abs(h)])
            scores.append(rng.random())
            right = CATEGORY_IDS.index(annotation["category_id"])
            classes.append(right if rng.random() < 0.9 else (right + 1) % 3)
        boxes.append([5.0, 5.0, 50.0, 50.0])
        scores.append(0.9)
        classes.append(0)
        detections[image["id"]] = make_instances(boxes, scores, classes)
    return detections


def make_instances(boxes, scores, classes) -> Instances:
    instances = Instances((400, 400))
    instances.pred_boxes = Boxes(torch.tensor(boxes).reshape(-1, 4).float())
    instances.scores = torch.tensor(scores)
    instances.pred_classes = torch.tensor(classes, dtype=torch.int64)
    return instances


def evaluate(evaluator, detections: dict[int, Instances], **kwargs):
    evaluator.reset()
    for image_id, instances in detections.items():
        evaluator.process([{"image_id": image_id}], [{"instances": instances}])
    return evaluator.evaluate(**kwargs)


def expected_scores(annotations: dict, results: list[dict], image_ids=None) -> dict[str, float]:
    """The scores by pycocotools alone; for a category by evaluating it alone."""
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = annotations
        coco.createIndex()
        detected = coco.loadRes(results)

        def stats(**parameters):
            coco_eval = COCOeval(coco, detected, "bbox")
            for name, value in parameters.items():
                setattr(coco_eval.params, name, value)
            if image_ids is not None:
                coco_eval.params.imgIds = image_ids
            coco_eval.evaluate()
            coco_eval.accumulate()
            coco_eval.summarize()
            return coco_eval.stats[:6] * 100

        scores = dict(zip(METRICS, stats(), strict=True))
        for category, name in zip(CATEGORY_IDS, NAMES, strict=True):
            scores[f"AP-{name}"] = stats(catIds=[category])[0]
    return {name: math.nan if score < 0 else float(score) for name, score in scores.items()}


def test_scores_are_those_of_pycocotools(tmp_path, registered):
    annotations = make_annotations()
    evaluator = COCOEvaluator(registered(annotations), output_dir=str(tmp_path / "inference"))
    scores = evaluate(evaluator, noisy_detections(annotations))["bbox"]
    results = json.loads((tmp_path / "inference" / "coco_instances_results.json").read_text())
    expected = expected_scores(annotations, results)
    assert list(scores) == list(expected)
    assert scores == pytest.approx(expected, abs=1e-9)
    assert 5 < scores["AP"] < 95  # the data says something


def test_the_results_file_has_the_data_sets_own_ids(tmp_path, registered):
    annotations = make_annotations()
    evaluator = COCOEvaluator(registered(annotations), output_dir=str(tmp_path))
    evaluate(evaluator, {10: make_instances([[1.0, 2.0, 5.0, 10.0]], [0.5], [2])})
    [result] = json.loads((tmp_path / "coco_instances_results.json").read_text())
    assert result == {"image_id": 10, "category_id": 90, "bbox": [1, 2, 4, 8], "score": 0.5}


def test_perfect_detections_score_100(registered):
    annotations = make_annotations()
    detections = {}
    for image in annotations["images"]:
        own = [a for a in annotations["annotations"] if a["image_id"] == image["id"]]
        boxes = [[x, y, x + w, y + h] for x, y, w, h in (a["bbox"] for a in own)]
        classes = [CATEGORY_IDS.index(a["category_id"]) for a in own]
        detections[image["id"]] = make_instances(boxes, [1.0] * len(own), classes)
    scores = evaluate(COCOEvaluator(registered(annotations)), detections)["bbox"]
    assert {name: round(score, 6) for name, score in scores.items()} == dict.fromkeys(scores, 100.0)


def test_only_the_images_asked_for_count(tmp_path, registered):
    annotations = make_annotations()
    evaluator = COCOEvaluator(registered(annotations), output_dir=str(tmp_path))
    scores = evaluate(evaluator, noisy_detections(annotations), img_ids=[10, 20])["bbox"]
    results = json.loads((tmp_path / "coco_instances_results.json").read_text())
    assert scores == pytest.approx(
        expected_scores(annotations, results, [10, 20]), abs=1e-9, nan_ok=True
    )


def test_fewer_detections_for_an_image_can_be_counted(registered):
    """One image, two objects: the better detection alone finds half of them."""
    annotations = make_annotations(num_images=1, boxes_per_image=2)
    for annotation, box in zip(
        annotations["annotations"], ([0, 0, 50, 50], [100, 100, 50, 50]), strict=True
    ):
        annotation |= {"bbox": box, "area": 2500, "category_id": 3}
    boxes = [[0.0, 0.0, 50.0, 50.0], [100.0, 100.0, 150.0, 150.0]]
    detections = {10: make_instances(boxes, [0.9, 0.8], [0, 0])}
    name = registered(annotations)
    assert evaluate(COCOEvaluator(name), detections)["bbox"]["AP"] == pytest.approx(100)
    limited = evaluate(COCOEvaluator(name, max_dets_per_image=11), detections)["bbox"]
    assert limited["AP"] == pytest.approx(100)
    evaluator = COCOEvaluator(name, max_dets_per_image=12)
    many = {10: make_instances(boxes[:1] * 12 + boxes[1:], [0.9] * 12 + [0.1], [0] * 13)}
    assert evaluate(evaluator, many)["bbox"]["AP50"] == pytest.approx(100 * 51 / 101, abs=0.1)


def test_a_config_in_the_place_of_the_tasks_stands_for_none(tmp_path, registered):
    annotations = make_annotations()
    name = registered(annotations)
    by_config = COCOEvaluator(name, get_cfg(), True, str(tmp_path / "inference"))
    scores = evaluate(by_config, noisy_detections(annotations))
    assert scores == evaluate(COCOEvaluator(name), noisy_detections(annotations))
    assert (tmp_path / "inference" / "coco_instances_results.json").is_file()


def test_no_detection_at_all_scores_nothing(registered):
    annotations = make_annotations()
    nothing = {image["id"]: make_instances([], [], []) for image in annotations["images"]}
    scores = evaluate(COCOEvaluator(registered(annotations)), nothing)["bbox"]
    assert set(METRICS) <= set(scores)
    if HOST == "detectron2":
        assert all(math.isnan(score) for score in scores.values())
    else:
        assert scores["AP"] == scores["AP50"] == scores[f"AP-{NAMES[0]}"] == 0


def test_no_image_at_all_gives_no_scores(registered):
    assert evaluate(COCOEvaluator(registered(make_annotations())), {}) == {}


def test_an_unknown_class_is_an_error(registered):
    evaluator = COCOEvaluator(registered(make_annotations()))
    with pytest.raises(AssertionError, match="class=80"):
        evaluate(evaluator, {10: make_instances([[0.0, 0, 1, 1]] * 2, [0.5, 0.5], [1, 80])})


@pytest.mark.skipif(HOST != "embedded", reason="genuine Detectron2 scores them")
def test_proposals_are_refused_by_name(registered):
    evaluator = COCOEvaluator(registered(make_annotations()))
    evaluator.reset()
    with pytest.raises(NotImplementedError, match="does not score proposals"):
        evaluator.process([{"image_id": 10}], [{"proposals": Instances((4, 4))}])


def test_a_json_without_annotations_only_writes_results(tmp_path, registered):
    annotations = make_annotations()
    name = registered(annotations)
    del annotations["annotations"]
    with open(MetadataCatalog.get(name).json_file, "w") as file:
        json.dump(annotations, file)
    evaluator = COCOEvaluator(name, output_dir=str(tmp_path))
    assert evaluate(evaluator, {10: make_instances([[0.0, 0, 1, 1]], [0.5], [1])}) == {}
    assert (tmp_path / "coco_instances_results.json").is_file()


def test_a_data_set_without_json_is_converted(tmp_path):
    name = f"test_{uuid.uuid4().hex}"
    box = {"bbox": [0, 0, 20, 20], "bbox_mode": 1, "category_id": 1, "iscrowd": 0}
    image = {"file_name": "a.png", "image_id": 5, "height": 50, "width": 50, "annotations": [box]}
    DatasetCatalog.register(name, lambda: [image])
    MetadataCatalog.get(name).set(thing_classes=["a", "b"])
    try:
        evaluator = COCOEvaluator(name, output_dir=str(tmp_path))
        detections = {5: make_instances([[0.0, 0, 20, 20]], [0.5], [1])}
        scores = evaluate(evaluator, detections)["bbox"]
        assert scores["AP"] == pytest.approx(100) and scores["AP-b"] == pytest.approx(100)
        assert math.isnan(scores["AP-a"])
    finally:
        DatasetCatalog.remove(name)
        MetadataCatalog.remove(name)


class TestEmbedded:
    def test_annotations_without_area_and_iscrowd_are_completed(self, tmp_path):
        annotations = make_annotations()
        detections = noisy_detections(annotations)
        scores = []
        for remove in ((), ("area", "iscrowd")):
            for annotation, key in itertools.product(annotations["annotations"], remove):
                del annotation[key]
            path = tmp_path / f"{len(remove)}.json"
            path.write_text(json.dumps(annotations))
            metadata = EmbeddedCatalog.get(f"test_{uuid.uuid4().hex}")
            metadata.set(json_file=str(path), thing_classes=list(NAMES))
            ids = {category: index for index, category in enumerate(CATEGORY_IDS)}
            metadata.set(thing_dataset_id_to_contiguous_id=ids)
            scores.append(evaluate(EmbeddedEvaluator(metadata.name), detections))
        assert scores[0] == scores[1]

    def test_other_tasks_are_refused(self):
        with pytest.raises(ValueError, match="boxes only"):
            EmbeddedEvaluator("any", tasks=("bbox", "segm"))
        with pytest.raises(ValueError, match="boxes only"):
            EmbeddedEvaluator("any", kpt_oks_sigmas=[0.1])

    def test_a_data_set_without_json_needs_a_folder(self):
        with pytest.raises(ValueError, match="output_dir"):
            EmbeddedEvaluator("no_such_dataset")
