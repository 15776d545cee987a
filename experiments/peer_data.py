"""The input size of the data that all peers get, and the scores on it."""

import contextlib
import io
import json
import math
from collections import Counter
from pathlib import Path
from typing import Any

from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from dyhead.config import load_config
from dyhead.data.model_input import resized_size
from dyhead.evaluation.average_precision import METRICS, average_precision, no_detections


def input_size(data: Path, config: str) -> tuple[int, int]:
    """Return the height and width that a config resizes pictures of the most frequent size to."""
    content = json.loads((data / "val.json").read_text(encoding="utf-8"))
    sizes = Counter((image["height"], image["width"]) for image in content["images"])
    ((height, width), _), *_ = sizes.most_common(1)
    cfg, _ = load_config(config)
    return resized_size(height, width, cfg.INPUT.MIN_SIZE_TEST, cfg.INPUT.MAX_SIZE_TEST)


def score(data: Path, detections: Path) -> dict[str, float | None]:
    """Compute COCO's AP, AP50, ... from 0 to 100 by pycocotools; None where nothing counts.

    Args:
        data: the folder of `prepare_data`.
        detections: COCO's results of its val.json.
    """
    found: list[dict[str, Any]] = json.loads(detections.read_text(encoding="utf-8"))
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(str(data / "val.json"))
        results = truth.loadRes(found) if found else no_detections(truth)
        evaluation = COCOeval(truth, results, "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
    scores = {name: average_precision(evaluation, *what) for name, what in METRICS.items()}
    return {name: None if math.isnan(value) else value for name, value in scores.items()}
