"""Sets whose ids COCO's tools do not handle have the scores of the same set with plain ids."""

import contextlib
import io
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from dyhead.config import load_config
from dyhead.d2.data import DatasetCatalog
from dyhead.d2.structures import Boxes, Instances
from dyhead.data.coco_json import category_ids, register_sources
from dyhead.evaluation.coco_evaluation import build_coco_evaluator, is_installed
from dyhead.visualization.mosaic import draw_mosaic

SIZE = 64
METRICS = ("AP", "AP50", "AP75", "APs", "APm", "APl")
LONG = 2**53

IDS = {
    "plain": ([1, 2, 3, 4], [5, 6], lambda number: number),
    "largest exact": ([LONG - 4, LONG - 3, LONG - 2, LONG - 1], [LONG - 2, LONG - 1], int),
    "above 2**53": ([LONG + i for i in range(4)], [LONG, LONG + 1], lambda n: LONG + n),
    "text but for annotations": (["a", "b", "c", "d"], ["k1", "k2"], int),
    "text": (["a", "b", "c", "d"], ["k1", "k2"], lambda number: f"u{number}"),
    "above 2**63": ([2**63 + i for i in range(4)], [2**70, 2**70 + 1], lambda n: 2**64 + n),
    "mixed": ([7, "9", "b", "d"], [1, "two"], lambda number: float(number)),
}
READ_BY_PYCOCOTOOLS = ("plain", "largest exact", "above 2**53", "text but for annotations")


def make_set(folder: Path, ids: str) -> dict:
    image_ids, categories, annotation_id = IDS[ids]
    rng = np.random.default_rng(0)
    content: dict = {"info": {}, "images": [], "annotations": []}
    content["categories"] = [{"id": i, "name": f"class {n}"} for n, i in enumerate(categories)]
    for number, image_id in enumerate(image_ids):
        Image.new("RGB", (SIZE, SIZE)).save(folder / f"{number}.png")
        entry = {"id": image_id, "file_name": f"{number}.png", "width": SIZE, "height": SIZE}
        content["images"].append(entry)
        for _ in range(5):
            x, y, width, height = rng.uniform((0, 0, 6, 6), (30, 30, 34, 34)).tolist()
            annotation = {
                "id": annotation_id(1 + len(content["annotations"])),
                "image_id": image_id,
                "category_id": categories[int(rng.integers(2))],
                "bbox": [x, y, width, height],
                "area": width * height,
                "iscrowd": 0,
            }
            content["annotations"].append(annotation)
    return content


def find(content: dict) -> dict[str, Instances]:
    """Detections by file name: the objects, shifted, one in four of the other class."""
    rng = np.random.default_rng(1)
    classes = [category["id"] for category in content["categories"]]
    found = {}
    for image in content["images"]:
        objects = [a for a in content["annotations"] if a["image_id"] == image["id"]]
        boxes = torch.tensor([a["bbox"] for a in objects])
        boxes[:, 2:] += boxes[:, :2]
        instances = Instances((SIZE, SIZE))
        instances.pred_boxes = Boxes(boxes + torch.tensor(rng.normal(0, 1, (len(boxes), 4))))
        instances.scores = torch.tensor(rng.random(len(boxes)))
        right = [classes.index(a["category_id"]) for a in objects]
        instances.pred_classes = torch.tensor(right) ^ torch.tensor(rng.random(len(boxes)) < 0.25)
        found[image["file_name"]] = instances
    return found


def evaluate(name: str, found: dict[str, Instances], folder: Path, fast: bool) -> dict[str, float]:
    records = DatasetCatalog.get(name)
    evaluator = build_coco_evaluator(name, str(folder), fast=fast)
    evaluator.reset()
    for record in records:
        evaluator.process([record], [{"instances": found[Path(record["file_name"]).name]}])
    return evaluator.evaluate()["bbox"]


def score(json_file: Path, results: Path) -> list[float]:
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(str(json_file))
        evaluation = COCOeval(truth, truth.loadRes(str(results)), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return [100 * value if value > -1 else float("nan") for value in evaluation.stats[:6]]


@pytest.mark.parametrize("ids", IDS)
@pytest.mark.parametrize("fast", [False, True])
def test_scores_are_those_of_pycocotools_on_the_ids_of_the_file(own_catalogs, tmp_path, ids, fast):
    if fast and not is_installed():
        pytest.skip("faster-coco-eval is not installed")
    scores = {}
    for form in ("plain", ids):
        content = make_set(tmp_path, form)
        json_file = tmp_path / f"{form}.json"
        json_file.write_text(json.dumps(content))
        cfg, _ = load_config("", [])
        cfg.DATASETS.COCO_JSON = [[form, str(json_file), str(tmp_path)]]
        register_sources(cfg, tmp_path / "repaired")
        scores[form] = evaluate(form, find(content), tmp_path / form, fast)
    assert scores[ids] == pytest.approx(scores["plain"], rel=0, abs=1e-9, nan_ok=True)
    assert 10 < scores[ids]["AP"] < 90 and len(scores[ids]) == 8

    results = tmp_path / ids / "coco_instances_results.json"
    written = json.loads(results.read_text())
    assert {each["image_id"] for each in written} == {each["id"] for each in content["images"]}
    assert {each["category_id"] for each in written} == set(category_ids(ids))
    if ids in READ_BY_PYCOCOTOOLS:
        ours = [scores[ids][metric] for metric in METRICS]
        np.testing.assert_allclose(score(json_file, results), ours, rtol=0, atol=1e-9)
    assert draw_mosaic(ids, results, tmp_path / "mosaic.png").stat().st_size > 0
