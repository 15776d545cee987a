"""Runs of `dyhead pseudo-label` with a detector that finds the same in every image."""

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from dyhead.cli.main import main
from dyhead.d2.config import CfgNode
from dyhead.d2.modeling import META_ARCH_REGISTRY
from dyhead.d2.structures import Boxes, Instances

WIDTH, HEIGHT = 60, 40
# XYXY in pixels, score, class: what the detector finds in every image that isn't black
FOUND = [
    ((5.0, 6.0, 25.5, 16.0), 0.9, 0),
    ((-4.0, 20.0, 30.0, 50.0), 0.6, 1),  # beyond the left and the lower edge
    ((30.0, 5.0, 50.0, 25.0), 0.4, 1),
    ((8.0, 8.0, 8.6, 20.0), 0.95, 0),  # thinner than a pixel
]


class FixedDetector(nn.Module):
    """Finds `FOUND` in every image, with scores times a learnt factor; nothing in black ones."""

    def __init__(self, cfg: CfgNode) -> None:
        super().__init__()
        self.backbone = nn.Linear(1, 1)
        self.factor = nn.Parameter(torch.tensor(0.01))

    def forward(self, batch: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Find `FOUND` in every image."""
        assert not self.training
        return [{"instances": self.find(image)} for image in batch]

    def find(self, image: dict[str, Any]) -> Instances:
        """Find it in one."""
        found = FOUND if image["image"].max() > 0 else []
        boxes = torch.tensor([box for box, *_ in found]).reshape(-1, 4)
        return Instances(
            (image["height"], image["width"]),
            pred_boxes=Boxes(boxes),
            scores=torch.tensor([score for _, score, _ in found]) * self.factor,
            pred_classes=torch.tensor([index for *_, index in found], dtype=torch.int64),
        )


if "FixedDetector" not in META_ARCH_REGISTRY:
    META_ARCH_REGISTRY.register(FixedDetector)


@pytest.fixture(autouse=True)
def clean_state(own_catalogs: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave the host's catalogs and the loggers as they were."""
    monkeypatch.setattr("dyhead.d2.utils.logger.setup_logger", lambda **_: None)


def save_image(path: Path, seed: int) -> None:
    """Write a picture of noise."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(1, 255, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)


@pytest.fixture
def pets(tmp_path: Path) -> list[str]:
    """[name, json, image folder] of the data set that the detector was trained on."""
    save_image(tmp_path / "pets" / "1.png", 1)
    box = {"bbox": [5, 6, 20, 10], "area": 200, "iscrowd": 0}
    content = {
        "info": {},
        "images": [{"id": 1, "file_name": "1.png", "width": WIDTH, "height": HEIGHT}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 3, **box}],
        "categories": [{"id": 7, "name": "dog"}, {"id": 3, "name": "cat"}],
    }
    (tmp_path / "pets.json").write_text(json.dumps(content))
    return ["pets", str(tmp_path / "pets.json"), str(tmp_path / "pets")]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Unlabelled images: three to label, a black one, two broken ones, and what is no image."""
    images = tmp_path / "new"
    save_image(images / "b" / "2.png", 2)
    save_image(images / "a.jpg", 3)
    save_image(images / "c d" / "deep" / "4.PNG", 4)
    Image.new("RGB", (WIDTH, HEIGHT)).save(images / "black.png")
    (images / "empty.jpg").write_bytes(b"")
    whole = (images / "b" / "2.png").read_bytes()
    (images / "truncated.png").write_bytes(whole[: len(whole) // 2])
    (images / "notes.txt").write_text("no image")
    save_image(images / ".hidden.png", 5)
    (images / "b" / "loop").symlink_to(images, target_is_directory=True)
    return images


@pytest.fixture
def label(tmp_path: Path, pets: list[str], folder: Path) -> Callable[..., dict[str, Any]]:
    """Call it with further arguments and overrides to get the json that the command writes."""
    torch.save({"model": {**weights(), "factor": torch.tensor(1.0)}}, tmp_path / "trained.pth")
    config = tmp_path / "config.yaml"
    config.write_text(
        f"""
MODEL: {{META_ARCHITECTURE: FixedDetector, WEIGHTS: "{tmp_path / "trained.pth"}", DEVICE: cpu}}
DATASETS:
  COCO_JSON: {json.dumps([pets])}
  TRAIN: ("pets",)
DATALOADER: {{NUM_WORKERS: 0}}
INPUT: {{MIN_SIZE_TEST: 80}}
OUTPUT_DIR: "{tmp_path / "run"}"
VERSION: 2
"""
    )

    def run(*arguments: str, output: Path = tmp_path / "out" / "labels.json") -> dict[str, Any]:
        paths = ["--config", str(config), "--images", str(folder), "--output", str(output)]
        main(["pseudo-label", *paths, *arguments])
        return json.loads(output.read_text())

    return run


def weights() -> dict[str, torch.Tensor]:
    """Those of the backbone of `FixedDetector`."""
    return {"backbone.weight": torch.ones(1, 1), "backbone.bias": torch.ones(1)}


def is_ours(record: logging.LogRecord) -> bool:
    """Tell if it is ours; the host says that category ids are not 1, 2, ..., which is no news."""
    return record.name.startswith("dyhead")
