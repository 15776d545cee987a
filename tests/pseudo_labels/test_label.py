"""`dyhead pseudo-label`, from a folder of images to a data set that trains."""

import json
import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from pseudo_label_runs import HEIGHT, WIDTH, FixedDetector, is_ours
from torch import nn

from dyhead.config import load_config
from dyhead.data import register_datasets
from dyhead.data.num_classes import fill_num_classes
from dyhead.engine.trainer import Trainer


def test_labels_are_coco_with_the_ids_of_the_training_set(
    label: Callable[..., dict[str, Any]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    coco = label()
    assert [image["file_name"] for image in coco["images"]] == [
        "a.jpg",
        "b/2.png",
        "c d/deep/4.PNG",
    ]
    assert all((image["width"], image["height"]) == (WIDTH, HEIGHT) for image in coco["images"])
    assert coco["categories"] == [{"id": 3, "name": "cat"}, {"id": 7, "name": "dog"}]
    first = [a for a in coco["annotations"] if a["image_id"] == coco["images"][0]["id"]]
    assert [(a["category_id"], a["bbox"], a["score"]) for a in first] == [
        (3, [5, 6, 20.5, 10], pytest.approx(0.9)),
        (7, [0, 20, 30, 20], pytest.approx(0.6)),
    ]
    assert [a["area"] for a in first] == [205, 600]
    assert all(a["iscrowd"] == 0 for a in coco["annotations"])
    assert [a["id"] for a in coco["annotations"]] == [1, 2, 3, 4, 5, 6]
    assert coco["info"]["checkpoint"].endswith("trained.pth")
    assert coco["info"]["thresholds"] == {"cat": 0.5, "dog": 0.5}

    printed = capsys.readouterr().out
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in printed.splitlines()]
    assert ["cat", "0.5", "3", "3"] in rows and ["all", "", "6", "3"] in rows
    assert "3 of 4 images have labels; 1 without" in printed and "2 can't be read" in printed
    picture = Image.open(tmp_path / "out" / "labels.png")
    assert np.asarray(picture).std() > 10
    assert {p.name for p in (tmp_path / "out").iterdir()} == {"labels.json", "labels.png"}
    assert not (tmp_path / "run").exists(), "the training's folder is left alone"


def test_thresholds_per_class(label: Callable[..., dict[str, Any]]) -> None:
    def count(*arguments: str) -> list[int]:
        found = [a["category_id"] for a in label(*arguments)["annotations"]]
        return [found.count(3), found.count(7)]

    assert count("--threshold", "0.3") == [3, 6]
    assert count("--class-threshold", "dog=0.7") == [3, 0]
    assert count("--class-threshold", "dog=0.7", "--class-threshold", "cat=0") == [3, 0]
    assert count("--threshold", "0.95", "--class-threshold", "dog=0.35") == [0, 6]


@pytest.mark.filterwarnings("error")
def test_labels_train_together_with_the_training_set(
    label: Callable[..., dict[str, Any]],
    tmp_path: Path,
    pets: list[str],
    folder: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    label()
    cfg, explicit_keys = load_config("", ["SOLVER.IMS_PER_BATCH", "4"])
    cfg.DATASETS.COCO_JSON = [pets, ["pseudo", str(tmp_path / "out" / "labels.json"), str(folder)]]
    cfg.DATASETS.TRAIN, cfg.DATASETS.TRAIN_RATIOS = ("pets", "pseudo"), [1, 3]
    cfg.DATASETS.TEST = ()
    cfg.DATALOADER.NUM_WORKERS = 0
    cfg.INPUT.RANDOM_FLIP, cfg.INPUT.MIN_SIZE_TRAIN = "none", (HEIGHT,)
    cfg.OUTPUT_DIR = str(tmp_path / "second")
    register_datasets(cfg)
    fill_num_classes(cfg, explicit_keys)
    caplog.clear()
    batch = next(iter(Trainer.build_train_loader(cfg)))
    assert not [r for r in caplog.records if r.levelno >= logging.WARNING and is_ours(r)]
    assert not (tmp_path / "second").exists(), "nothing needed repair"
    assert sum(str(folder) in image["file_name"] for image in batch) == 3
    for image in batch:
        if str(folder) in image["file_name"]:
            instances = image["instances"]
            assert instances.gt_classes.tolist() == [0, 1]
            expected = torch.tensor([[5, 6, 25.5, 16], [0, 20, 30, 40.0]])
            torch.testing.assert_close(instances.gt_boxes.tensor, expected)


def test_multi_scale_testing_gets_what_it_needs(
    label: Callable[..., dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[set[str]] = []

    class Recorder(nn.Module):
        def __init__(self, model: nn.Module) -> None:
            super().__init__()
            self.model = model

        def forward(self, batch: list[dict[str, Any]]) -> Any:
            seen.extend(set(image) for image in batch)
            return self.model(batch)

    monkeypatch.setattr(
        "dyhead.pseudo_labels.label.build_multi_scale_testing",
        lambda cfg, model: Recorder(model),
    )
    assert label("TEST.AUG.ENABLED", "True")["info"]["multi_scale_testing"] is True
    assert len(seen) == 4
    assert all({"file_name", "height", "width", "image"} <= keys for keys in seen)


def test_an_interruption_leaves_the_older_labels(
    label: Callable[..., dict[str, Any]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    before = label()

    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(FixedDetector, "find", interrupt)
    with pytest.raises(SystemExit, match="130"):
        label()
    assert json.loads((tmp_path / "out" / "labels.json").read_text()) == before


def test_the_classes_are_known_without_the_images(
    label: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    shutil.rmtree(tmp_path / "pets")
    assert label()["categories"] == [{"id": 3, "name": "cat"}, {"id": 7, "name": "dog"}]
