"""The data that all peers get, as checked COCO jsons with whole paths, and the scores on them."""

import contextlib
import hashlib
import io
import json
import math
from collections import Counter
from pathlib import Path
from typing import Any

from data_sets import DataSet
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from dyhead.config import load_config
from dyhead.data.checks import check_coco, refuse_unusable
from dyhead.data.model_input import resized_size
from dyhead.data.sources import read_source
from dyhead.errors import UserError
from dyhead.evaluation.average_precision import METRICS, average_precision, no_detections
from dyhead.safe_io.json_text import strict_json, write_json

PARTS = ("train", "val")


def prepare_data(data: DataSet, folder: Path) -> Path:
    """Write train.json and val.json as the project's own checks leave them; return their folder.

    Boxes without area are left out and others end at the picture's border, for all peers alike.

    Raises:
        UserError: the data cannot be used, or its parts have other classes.
    """
    target = folder / data.name
    target.mkdir(parents=True, exist_ok=True)
    categories = {}
    for part in PARTS:
        source = read_source(Path(getattr(data, part)))
        content, report = check_coco(source.content, source.path, source.image_root)
        refuse_unusable(report)
        images = [
            {**image, "file_name": str(source.image_root / image["file_name"])}
            for image in content["images"]
        ]
        categories[part] = {each["id"]: each["name"] for each in content["categories"]}
        write_json({**content, "images": images}, target / f"{part}.json")
    if categories["train"] != categories["val"]:  # detectors count classes by the order of ids
        raise UserError(
            f"{data.train} has the categories {categories['train']}, but {data.val} has"
            f" {categories['val']}: give both the same ids and names."
        )
    return target


def annotations_digest(data: Path) -> str:
    """Hash what `prepare_data` wrote, without the folders of the pictures: others elsewhere."""
    digest = hashlib.sha256()
    for part in PARTS:
        content = json.loads((data / f"{part}.json").read_text(encoding="utf-8"))
        for image in content["images"]:
            image["file_name"] = Path(image["file_name"]).name
        digest.update(strict_json(content, sort_keys=True).encode())
    return digest.hexdigest()[:10]


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
