"""A detector small enough to train within a test, and a data set of plain rectangles."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from dyhead.config import load_config
from dyhead.d2.config import CfgNode
from dyhead.d2.modeling import META_ARCH_REGISTRY
from dyhead.d2.structures import Boxes, Instances
from dyhead.data import register_datasets
from dyhead.data.num_classes import fill_num_classes


class ToyDetector(nn.Module):
    """Predicts one box for all images: the mean of the boxes it was trained on."""

    def __init__(self, cfg: CfgNode) -> None:
        super().__init__()
        self.box = nn.Parameter(torch.zeros(4))  # XYXY, pixels
        self.score = nn.Linear(1, 1)

    def forward(self, batch: list[dict[str, Any]]) -> Any:
        if not self.training:
            return [{"instances": self.predict(image)} for image in batch]
        boxes = torch.cat([image["instances"].gt_boxes.tensor for image in batch])
        mean_intensity = torch.stack([image["image"].float().mean() for image in batch])
        score = self.score(mean_intensity[:, None] / 255)
        return {
            "loss_cls": nn.functional.softplus(-score).mean(),
            "loss_box_reg": (self.box - boxes).abs().mean(),
        }

    def predict(self, image: dict[str, Any]) -> Instances:
        size = (image["height"], image["width"])
        return Instances(
            size,
            pred_boxes=Boxes(self.box[None].clone()),
            scores=torch.ones(1),
            pred_classes=torch.zeros(1, dtype=torch.int64),
        )


if "ToyDetector" not in META_ARCH_REGISTRY:
    META_ARCH_REGISTRY.register(ToyDetector)


@pytest.fixture
def without_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Spares a test the drawing, which takes longer than its training."""
    monkeypatch.setattr("dyhead.evaluation.reports.draw_mosaic", lambda *_: None)
    monkeypatch.setattr("dyhead.engine.hooks.plot_curves", lambda *_: None)


@pytest.fixture
def rectangles(tmp_path: Path) -> list[str]:
    """[name, json, image folder] of six 40 x 32 images with one rectangle each, two classes."""
    folder = tmp_path / "rectangles"
    folder.mkdir()
    rng = np.random.default_rng(0)
    images, annotations = [], []
    for index in range(6):
        pixels = rng.integers(0, 80, (32, 40, 3), dtype=np.uint8)
        x, y = (int(v) for v in rng.integers(0, 12, 2))
        pixels[y : y + 16, x : x + 20] = 220
        Image.fromarray(pixels).save(folder / f"{index}.png")
        images.append({"id": index, "file_name": f"{index}.png", "height": 32, "width": 40})
        annotations.append(
            {
                "id": index + 1,
                "image_id": index,
                "category_id": 3 + 4 * (index % 2),
                "bbox": [x, y, 20, 16],
                "area": 320,
                "iscrowd": 0,
            }
        )
    categories = [{"id": 3, "name": "plain"}, {"id": 7, "name": "other"}]
    json_file = tmp_path / "rectangles.json"
    json_file.write_text(
        json.dumps({"images": images, "annotations": annotations, "categories": categories})
    )
    return ["rectangles", str(json_file), str(folder)]


@pytest.fixture
def make_config(tmp_path: Path, rectangles: list[str]) -> Callable[..., CfgNode]:
    """Call it with dotted keys and values to get the frozen config of a four-step toy training."""

    def make(**changes: Any) -> CfgNode:
        cfg, explicit_keys = load_config("", [])
        cfg.MODEL.META_ARCHITECTURE = "ToyDetector"
        cfg.MODEL.DEVICE = "cpu"
        cfg.MODEL.WEIGHTS = ""
        cfg.DATASETS.COCO_JSON = [rectangles]
        cfg.DATASETS.TRAIN = cfg.DATASETS.TEST = (rectangles[0],)
        cfg.INPUT.MIN_SIZE_TRAIN, cfg.INPUT.MIN_SIZE_TEST = (32,), 32
        cfg.DATALOADER.NUM_WORKERS = 0
        cfg.SOLVER.IMS_PER_BATCH = 2
        cfg.SOLVER.MAX_ITER, cfg.SOLVER.STEPS, cfg.SOLVER.WARMUP_ITERS = 4, (), 0
        cfg.SOLVER.CHECKPOINT_PERIOD = 2
        cfg.TEST.REPORT = False  # it takes longer than the training
        cfg.OUTPUT_DIR = str(tmp_path / "run")
        cfg.SEED = 3
        cfg.merge_from_list([part for item in changes.items() for part in item])
        Path(cfg.OUTPUT_DIR).mkdir(exist_ok=True)
        register_datasets(cfg)
        fill_num_classes(cfg, explicit_keys)
        cfg.freeze()
        return cfg

    return make
