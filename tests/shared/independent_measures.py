"""The numbers of an evaluation by other programs: pycocotools, scikit-learn and tidecv.

Nothing of the project computes here, and matching is written anew. The data is without crowds,
which tidecv counts otherwise, and has fewer than 100 detections in a picture.
"""

import contextlib
import io
import json
import math
from collections import defaultdict
from typing import Any

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from tidecv_errors import NAMES, tidecv_errors

SIZES = ("all", "small", "medium", "large")


def independent_evaluation(truth: dict, results: list[dict], cost: dict) -> dict[str, Any]:
    """Return what report.json should have of an evaluation, with its keys."""
    categories = sorted(truth["categories"], key=lambda each: each["id"])
    ids = [each["id"] for each in categories]
    coco = _pycocotools(truth, results)
    matched = _match(truth, results)
    by_class = [[pair for pair in matched if pair[0]["category_id"] == i] for i in ids]
    numbers = [sum(each["category_id"] == i for each in truth["annotations"]) for i in ids]
    curves = [_curve(found, number) for found, number in zip(by_class, numbers, strict=True)]
    joint = _curve(matched, sum(numbers))
    thresholds = {i: _best(curve)["threshold"] for i, curve in zip(ids, curves, strict=True)}
    return {
        "pictures": len(truth["images"]),
        "objects": sum(numbers),
        "detections": len(results),
        "cost": cost,
        "scores": _scores(coco, slice(None)),
        "by_iou": {
            "iou": [0.5 + 0.05 * i for i in range(10)],
            "ap": {
                size: [_mean(coco["precision"][i, :, :, area, -1]) for i in range(10)]
                for area, size in enumerate(SIZES)
            },
        },
        "classes": [
            {
                "objects": numbers[index],
                "detections": len(by_class[index]),
                "scores": _scores(coco, slice(index, index + 1)),
                "ap_by_iou": [_mean(coco["precision"][i, :, index, 0, -1]) for i in range(10)],
                "best": _best(curves[index]),
                "curve": curves[index],
            }
            for index in range(len(ids))
        ],
        "all_classes": {"best": _best(joint), "curve": joint},
        "confusion": {"counts": _confusion(truth, matched, ids, thresholds)},
        "errors": _errors(truth, results, matched),
        "calibration": _calibration(matched),
        "by_picture": _by_picture(truth, matched, thresholds),
    }


def _pycocotools(truth: dict, results: list[dict]) -> dict[str, np.ndarray]:
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = json.loads(json.dumps({"info": {}, **truth}))
        coco.createIndex()
        evaluation = COCOeval(coco, coco.loadRes(json.loads(json.dumps(results))), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
    return evaluation.eval


def _mean(values: np.ndarray) -> float:
    known = values[values > -1]
    return 100 * float(known.mean()) if known.size else math.nan


def _scores(coco: dict[str, np.ndarray], classes: slice) -> dict[str, float]:
    precision = coco["precision"][:, :, classes, :, -1]  # IoU, recall, class, size
    return {
        "AP": _mean(precision[..., 0]),
        "AP50": _mean(precision[0, ..., 0]),
        "AP75": _mean(precision[5, ..., 0]),
        **{name: _mean(precision[..., i]) for i, name in enumerate(("APs", "APm", "APl"), 1)},
        "AR": _mean(coco["recall"][:, classes, 0, -1]),
    }


def _iou(first: list[float], second: list[float]) -> float:
    (x, y, width, height), (x2, y2, width2, height2) = first, second
    across = max(0.0, min(x + width, x2 + width2) - max(x, x2))
    down = max(0.0, min(y + height, y2 + height2) - max(y, y2))
    return across * down / (width * height + width2 * height2 - across * down)


def _match(truth: dict, results: list[dict]) -> list[tuple[dict, dict | None]]:
    """Pair each detection, the surest first, with the free object that it overlaps most."""
    taken: set[int] = set()
    pairs = []
    for found in sorted(results, key=lambda each: -each["score"]):
        free = [
            (_iou(found["bbox"], each["bbox"]), each)
            for each in truth["annotations"]
            if each["id"] not in taken
            and each["image_id"] == found["image_id"]
            and each["category_id"] == found["category_id"]
        ]
        overlap, actual = max(free, key=lambda each: each[0], default=(0.0, None))
        actual = actual if overlap >= 0.5 else None
        if actual is not None:
            taken.add(actual["id"])
        pairs.append((found, actual))
    return pairs


def _arrays(matched: list[tuple[dict, dict | None]]) -> tuple[np.ndarray, np.ndarray]:
    is_true = np.array([actual is not None for _, actual in matched], dtype=int)
    return is_true, np.array([found["score"] for found, _ in matched])


def _curve(matched: list[tuple[dict, dict | None]], number: int) -> dict[str, list[float]]:
    from sklearn.metrics import precision_recall_curve

    is_true, scores = _arrays(matched)
    precision, recall, thresholds = precision_recall_curve(is_true, scores)
    # scikit-learn knows of no object that is not detected, and begins with the lowest threshold
    precision, recall = precision[-2::-1], recall[-2::-1] * is_true.sum() / number
    total = np.where(precision + recall > 0, precision + recall, 1)
    return {
        "threshold": thresholds[::-1].tolist(),
        "precision": precision.tolist(),
        "recall": recall.tolist(),
        "f1": (2 * precision * recall / total).tolist(),
    }


def _best(curve: dict[str, list[float]]) -> dict[str, float]:
    index = int(np.argmax(np.round(curve["f1"], 12)))  # the first of equals, the highest threshold
    return {name: values[index] for name, values in curve.items()}


def _confusion(
    truth: dict, matched: list[tuple[dict, dict | None]], ids: list[int], thresholds: dict
) -> list[list[int]]:
    from sklearn.metrics import confusion_matrix

    background = max(ids) + 1
    kept = [pair for pair in matched if pair[0]["score"] >= thresholds[pair[0]["category_id"]]]
    rows = [(actual["category_id"], found["category_id"]) for found, actual in kept if actual]
    known = {actual["id"] for _, actual in kept if actual}
    open_objects = {each["id"]: each for each in truth["annotations"] if each["id"] not in known}
    free = dict(enumerate(found for found, actual in kept if not actual))
    overlaps = [
        (_iou(found["bbox"], each["bbox"]), number, key)
        for number, found in free.items()
        for key, each in open_objects.items()
        if each["image_id"] == found["image_id"]
    ]
    for overlap, number, key in sorted(overlaps, reverse=True):
        if overlap >= 0.5 and number in free and key in open_objects:
            rows.append((open_objects.pop(key)["category_id"], free.pop(number)["category_id"]))
    rows += [(each["category_id"], background) for each in open_objects.values()]
    rows += [(background, found["category_id"]) for found in free.values()]
    return confusion_matrix(*zip(*rows, strict=True), labels=[*ids, background]).tolist()


def _errors(truth: dict, results: list[dict], matched: list) -> dict[str, Any]:
    of_tide = tidecv_errors(truth, results)
    num_true = sum(actual is not None for _, actual in matched)
    special = {
        "false_positives": ("FalsePos", len(results) - num_true),
        "false_negatives": ("FalseNeg", len(truth["annotations"]) - num_true),
    }
    return {
        "ap50": of_tide["ap"],
        "kinds": {
            kind.name.lower(): {"count": of_tide["counts"][name], "gain": of_tide["gains"][name]}
            for kind, name in NAMES.items()
        },
        **{
            key: {"count": count, "gain": of_tide["special"][name]}
            for key, (name, count) in special.items()
        },
    }


def _calibration(matched: list[tuple[dict, dict | None]]) -> dict[str, Any]:
    from sklearn.calibration import calibration_curve

    is_true, scores = _arrays(matched)
    precisions, means = map(iter, calibration_curve(is_true, scores, n_bins=10))
    counts, _ = np.histogram(scores, bins=10, range=(0, 1))
    bins = [
        {
            "low": i / 10,
            "high": (i + 1) / 10,
            "count": int(count),
            "score": float(next(means)) if count else math.nan,
            "precision": float(next(precisions)) if count else math.nan,
        }
        for i, count in enumerate(counts)
    ]
    gaps = [b["count"] * abs(b["score"] - b["precision"]) for b in bins if b["count"]]
    return {"error": sum(gaps) / len(scores), "bins": bins}


def _by_picture(truth: dict, matched: list, thresholds: dict) -> list[dict[str, Any]]:
    from sklearn.metrics import f1_score

    outcomes = defaultdict(list)  # (is an object there, is one detected)
    found_ids = set()
    for found, actual in matched:
        if found["score"] >= thresholds[found["category_id"]]:
            outcomes[found["image_id"]].append((int(actual is not None), 1))
            found_ids |= {actual["id"]} if actual else set()
    for each in truth["annotations"]:
        if each["id"] not in found_ids:
            outcomes[each["image_id"]].append((1, 0))
    return [
        {
            "image_id": image["id"],
            "f1": f1_score(*zip(*pairs, strict=True), zero_division=0) if pairs else 1.0,
            "found": pairs.count((1, 1)),
            "false": pairs.count((0, 1)),
            "missed": pairs.count((1, 0)),
        }
        for image in sorted(truth["images"], key=lambda image: image["id"])
        for pairs in [outcomes[image["id"]]]
    ]
