"""A small COCO data set on disk, clean unless a test dirties it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from dyhead.config import load_config
from dyhead.d2.config import CfgNode

WIDTH, HEIGHT = 60, 40


class CocoFolder:
    """A COCO json being put together, and its images (60 x 40 pixels)."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.images = folder / "images"
        self.images.mkdir(parents=True)
        self.content: dict[str, Any] = {
            "info": {},
            "images": [],
            "annotations": [],
            "categories": [{"id": 3, "name": "cat"}, {"id": 7, "name": "dog"}],
        }
        for number in (1, 2, 3):
            self.add_image(number)
            category_id = 7 if number == 3 else 3
            self.add_box(number, image_id=number, category_id=category_id, bbox=[5, 6, 20, 10])

    def add_image(self, number: int, **overrides: Any) -> None:
        name = overrides.get("file_name", f"{number}.png")
        Image.new("RGB", (WIDTH, HEIGHT), (40 * number % 255, 90, 120)).save(self.images / name)
        entry = {"id": number, "file_name": name, "width": WIDTH, "height": HEIGHT}
        self.content["images"].append({**entry, **overrides})

    def add_box(self, number: Any, **overrides: Any) -> None:
        box = overrides.get("bbox", [0, 0, 8, 9])
        entry = {"id": number, "image_id": 1, "category_id": 3, "iscrowd": 0}
        area = box[2] * box[3] if len(box) == 4 else 1
        self.content["annotations"].append({**entry, "bbox": box, "area": area, **overrides})

    def write(self) -> Path:
        path = self.folder / "instances.json"
        path.write_text(json.dumps(self.content))
        return path


@pytest.fixture
def coco(tmp_path: Path) -> CocoFolder:
    return CocoFolder(tmp_path / "set")


@pytest.fixture
def make_coco(tmp_path: Path) -> Callable[[str], CocoFolder]:
    return lambda name: CocoFolder(tmp_path / name)


@pytest.fixture(autouse=True)
def forget_datasets(own_catalogs: None) -> None:
    """Leave the host's catalogs as they were, after every test."""


@pytest.fixture
def cfg(tmp_path: Path) -> CfgNode:
    cfg, _ = load_config("")  # with the keys of the project
    cfg.DATASETS.COCO_JSON = []
    cfg.DATASETS.TRAIN = cfg.DATASETS.TEST = ()
    cfg.OUTPUT_DIR = str(tmp_path / "output")
    return cfg
