"""Processes that share a data set score it as one does."""

import json
from pathlib import Path

import pytest
from coco_detections import make_annotations, make_results, pycocotools_scores
from script_runs import report_of_script

PROGRAM = """
import json, sys
from pathlib import Path
from coco_detections import give, make_annotations, make_results
from dyhead.d2.data.datasets import load_coco_json, register_coco_instances
from dyhead.d2.utils import comm
from dyhead.engine import launch, parse_arguments
from dyhead.evaluation.coco_evaluation import build_coco_evaluator

def main(args):
    report, annotations = Path(sys.argv[1]), make_annotations(1)
    folder = report.parent
    results = make_results(annotations, 1)
    register_coco_instances("pets", {}, str(folder / "pets.json"), str(folder))
    load_coco_json(str(folder / "pets.json"), str(folder), "pets")
    evaluator = build_coco_evaluator("pets", str(folder))
    evaluator.reset()
    for image in annotations["images"][comm.get_rank() : 11 : 2]:  # 11 of 12
        give(evaluator, image["id"], [r for r in results if r["image_id"] == image["id"]])
    scores = evaluator.evaluate()
    if comm.is_main_process():
        report.write_text(json.dumps(scores["bbox"]))
    else:
        assert scores == {}

if __name__ == "__main__":
    line = ["--config", "quickstart", "--num-gpus", "2", "MODEL.DEVICE", "cpu"]
    launch(main, parse_arguments(line))
"""


@pytest.mark.slow
def test_images_of_all_processes_count_together(tmp_path: Path) -> None:
    annotations = make_annotations(1)
    (tmp_path / "pets.json").write_text(json.dumps(annotations))
    scores = report_of_script(PROGRAM, tmp_path)
    assert (scores.pop("images"), scores.pop("of")) == (11, 12)
    ids = [image["id"] for image in annotations["images"][:11]]
    written = json.loads((tmp_path / "coco_instances_results.json").read_text())
    assert {result["image_id"] for result in written} <= set(ids)
    assert len(written) == sum(r["image_id"] in ids for r in make_results(annotations, 1))
    assert scores == pytest.approx(pycocotools_scores(annotations, written, 100, ids), abs=1e-9)
