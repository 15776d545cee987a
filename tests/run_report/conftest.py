"""Runs that tests make up: the files that a training and its evaluation leave."""

import json
from pathlib import Path

import numpy as np
import pytest
from coco_detections import make_annotations, make_results
from PIL import Image

from dyhead.config import load_config
from dyhead.safe_io.json_text import write_json


@pytest.fixture(scope="session")
def labelled(tmp_path_factory):
    """A labelled data set in COCO's form with its pictures, for training and for testing."""
    folder = tmp_path_factory.mktemp("labelled")
    rng = np.random.default_rng(0)
    for part, seed in (("train", 1), ("val", 2)):
        content = make_annotations(seed)
        for image in content["images"]:
            image["file_name"] = f"{part}_{image['file_name']}"
            pixels = rng.integers(0, 255, (6, 6, 3), dtype=np.uint8)
            Image.fromarray(pixels).resize((600, 600)).save(folder / image["file_name"])
        (folder / f"{part}.json").write_text(json.dumps(content))
    return folder


@pytest.fixture(scope="session")
def make_run(labelled, tmp_path_factory):
    """Write what a run leaves into a new folder: its config, curves and detections."""

    def make(name="run", seed=7, **keys) -> Path:
        folder = tmp_path_factory.mktemp("runs") / name
        inference = folder / "inference"
        inference.mkdir(parents=True)
        cfg, _ = load_config("quickstart")
        cfg.DATASETS.SOURCES = [
            [f"made_{part}", str(labelled / f"{part}.json"), str(labelled)]
            for part in ("train", "val")
        ]
        cfg.DATASETS.TRAIN, cfg.DATASETS.TEST = ("made_train",), ("made_val",)
        cfg.SEED, cfg.OUTPUT_DIR = seed, str(folder)
        cfg.merge_from_list([part for pair in keys.items() for part in pair])
        (folder / "config.yaml").write_text(cfg.dump())
        lines = [
            {"iteration": i, "total_loss": 5 / (i + 1), "lr": 0.01, "time": 0.5, "data_time": 0.1}
            for i in range(0, 60, 20)
        ] + [{"iteration": 60, "bbox/AP": 30.0, "bbox/AP50": 50.0}]
        (folder / "metrics.json").write_text("".join(json.dumps(each) + "\n" for each in lines))
        truth = json.loads((labelled / "val.json").read_text())
        write_json(make_results(truth, seed), inference / "coco_instances_results.json")
        cost = {"images": 12, "device": "cpu", "seconds_per_image": 0.25, "peak_memory_gib": 1.5}
        write_json(cost, inference / "cost.json")
        return folder

    return make
