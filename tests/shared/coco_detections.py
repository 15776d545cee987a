"""Annotations and detections that a test made up, and their scores by pycocotools alone."""

import contextlib
import io
import json
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from dyhead.d2.evaluation import DatasetEvaluator
from dyhead.d2.structures import Boxes, Instances

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


def evaluate(
    evaluator: DatasetEvaluator, annotations: dict, results: list[dict], **options: Any
) -> dict[str, Any]:
    """Give an evaluator the results of every image, as a detector's, and let it score them."""
    evaluator.reset()
    for image in annotations["images"]:
        give(evaluator, image["id"], [r for r in results if r["image_id"] == image["id"]])
    return evaluator.evaluate(**options)


def give(evaluator: DatasetEvaluator, image_id: Any, results: list[dict]) -> None:
    """Give an evaluator the results of one image."""
    boxes = torch.tensor([r["bbox"] for r in results], dtype=torch.float64).reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    instances = Instances((600, 600))
    instances.pred_boxes = Boxes(boxes)
    instances.scores = torch.tensor([r["score"] for r in results])
    classes = [CATEGORY_IDS.index(r["category_id"]) for r in results]
    instances.pred_classes = torch.tensor(classes, dtype=torch.int64)
    evaluator.process([{"image_id": image_id}], [{"instances": instances}])


def pycocotools_scores(
    annotations: dict,
    results: Sequence[dict],
    limit: int = 100,
    image_ids: Sequence[Any] | None = None,
) -> dict[str, float]:
    """Compute AP, AP50, ... of all and "AP-<name>" of each category, from 0 to 100."""
    evaluation = _accumulated(annotations, results, limit, image_ids)
    precision = evaluation.eval["precision"]  # IoU, recall, category, area, limit
    wanted = {
        "AP": precision[:, :, :, 0, 2],
        "AP50": precision[0, :, :, 0, 2],
        "AP75": precision[5, :, :, 0, 2],
        "APs": precision[:, :, :, 1, 2],
        "APm": precision[:, :, :, 2, 2],
        "APl": precision[:, :, :, 3, 2],
        **{f"AP-{name}": precision[:, :, index, 0, 2] for index, name in enumerate(NAMES)},
    }
    return {
        name: float(100 * values[values > -1].mean()) if (values > -1).any() else math.nan
        for name, values in wanted.items()
    }


def pycocotools_recall(annotations: dict, results: Sequence[dict]) -> float:
    """Compute AR, of 100 detections and objects of all sizes, from 0 to 100."""
    evaluation = _accumulated(annotations, results, 100, None)
    with contextlib.redirect_stdout(io.StringIO()):
        evaluation.summarize()
    return float(100 * evaluation.stats[8])


def _accumulated(
    annotations: dict, results: Sequence[dict], limit: int, image_ids: Sequence[Any] | None
) -> COCOeval:
    with contextlib.redirect_stdout(io.StringIO()):
        truth, found = COCO(), COCO()
        truth.dataset = json.loads(json.dumps(annotations))
        truth.createIndex()
        if results:
            found = truth.loadRes(json.loads(json.dumps(list(results))))
        else:
            found.dataset = {**truth.dataset, "annotations": []}
            found.createIndex()
        evaluation = COCOeval(truth, found, "bbox")
        evaluation.params.maxDets = [1, 10, limit]
        if image_ids is not None:
            evaluation.params.imgIds = list(image_ids)
        evaluation.evaluate()
        evaluation.accumulate()
    return evaluation
