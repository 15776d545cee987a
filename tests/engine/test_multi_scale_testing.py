"""Multi-scale testing through the trainer and through `train_net.py --eval-only`."""

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from dyhead.d2.config import CfgNode
from dyhead.d2.structures import Boxes, Instances
from dyhead.engine import parse_arguments
from dyhead.engine.train_net import main
from dyhead.engine.trainer import Trainer

MakeConfig = Callable[..., CfgNode]
PROJECT = Path(__file__).parents[2]
AUG = {"TEST.AUG.ENABLED": True, "TEST.AUG.MIN_SIZES": (32, 64), "TEST.AUG.IOU_THRESHOLD": 0.5}


class BrightBox(nn.Module):
    """Finds the bright rectangle of an image and records the shapes of what it sees."""

    def __init__(self) -> None:
        super().__init__()
        self.shapes: list[tuple[int, ...]] = []

    def forward(self, batch: list[dict[str, Any]]) -> list[dict[str, Instances]]:
        return [{"instances": self.find(x)} for x in batch]

    def find(self, x: dict[str, Any]) -> Instances:
        self.shapes.append(tuple(x["image"].shape[1:]))
        rows, columns = (x["image"][0] > 150).nonzero(as_tuple=True)
        box = torch.stack([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])
        instances = Instances((x["height"], x["width"]))
        instances.pred_boxes = Boxes(box[None].float())
        instances.pred_boxes.scale(*(x["width"] / x["image"].shape[2],) * 2)
        instances.scores = torch.ones(1)
        instances.pred_classes = torch.zeros(1, dtype=torch.int64)
        return instances


@pytest.mark.usefixtures("without_pictures")
@pytest.mark.parametrize("merge", ["nms", "wbf"])
def test_every_evaluation_looks_at_all_views(
    make_config: MakeConfig,
    rectangles: list[str],
    caplog: pytest.LogCaptureFixture,
    merge: str,
) -> None:
    caplog.set_level(logging.INFO)
    cfg = make_config(**AUG, **{"TEST.AUG.MERGE": merge})
    model = BrightBox().train()
    scores = Trainer.test(cfg, model)["bbox"]
    assert model.shapes == [(32, 40), (32, 40), (64, 80), (64, 80)] * 6
    assert model.training
    assert "4 views per image" in caplog.text
    folder = Path(cfg.OUTPUT_DIR, "inference")
    found = json.loads((folder / "coco_instances_results.json").read_text())
    annotations = json.loads(Path(rectangles[1]).read_text())["annotations"]
    # one box per image, where the rectangle is: boxes of flipped views came back to it
    assert [detection["bbox"] for detection in found] == [a["bbox"] for a in annotations]
    assert scores["AP"] > 0
    assert "AP50" in (folder / "ap.md").read_text()


@pytest.mark.usefixtures("without_pictures")
def test_also_after_training(make_config: MakeConfig, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    cfg = make_config(**AUG)
    trainer = Trainer(cfg)
    trainer.resume_or_load(resume=False)
    trainer.train()
    assert "bbox/AP" in Path(cfg.OUTPUT_DIR, "metrics.json").read_text()
    assert caplog.text.count("4 views per image") == 1
    assert trainer.model.training


@pytest.mark.usefixtures("without_pictures")
def test_eval_only_of_a_real_detector(rectangles: list[str], tmp_path: Path) -> None:
    options = {
        "MODEL.DEVICE": "cpu",
        "MODEL.WEIGHTS": "",
        "MODEL.DYHEAD.NUM_CONVS": 1,
        "MODEL.ATSS.INFERENCE_TH": 0.001,
        "DATASETS.COCO_JSON": [rectangles],
        "DATASETS.TEST": (rectangles[0],),
        "DATASETS.TRAIN": (rectangles[0],),
        "DATALOADER.NUM_WORKERS": 0,
        "OUTPUT_DIR": tmp_path / "run",
        "TEST.AUG.ENABLED": True,
        "TEST.AUG.MIN_SIZES": (32, 48),
        "TEST.AUG.VALID_SIZES": [[8, -1], [0, 32]],
        "TEST.AUG.MERGE": "wbf",
    }
    config = str(PROJECT / "configs" / "Base-ATSS-DyHead-R18-small.yaml")
    words = [str(part) for option in options.items() for part in option]
    line = ["--eval-only", "--allow-partial", "--config", config, *words]
    results = main(parse_arguments(line))
    assert "AP" in results["bbox"]
    assert "4 views per image" in (tmp_path / "run" / "log.txt").read_text()
