"""`train_net.py` on a tiny data set and a tiny detector, in processes of its own."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

PROJECT = Path(__file__).parents[2]
CONFIG = f"""
_BASE_: {PROJECT}/configs/Base-ATSS-DyHead-R18-small.yaml
MODEL:
  DYHEAD:
    NUM_CONVS: 1
DATASETS:
  TRAIN: ("tiny",)
  TEST: ("tiny",)
INPUT:
  MIN_SIZE_TRAIN: (64,)
  MIN_SIZE_TEST: 64
  RANDOM_FLIP: "none"
DATALOADER:
  NUM_WORKERS: 0
SOLVER:
  IMS_PER_BATCH: 2
  MAX_ITER: 2
  WARMUP_ITERS: 1
  CHECKPOINT_PERIOD: 1
TEST:
  REPORT: False
"""


def command_line(folder: Path, num_images: int = 4) -> list[str]:
    """The command line of a two-step training into <folder>/run, on data that this writes."""
    images = write_images(folder / "images", num_images)
    annotations = [
        {"id": i + 1, "image_id": i, "category_id": 5, "bbox": [8, 8, 40, 40], "area": 1600}
        for i in range(len(images))
    ]
    content = {
        "images": images,
        "annotations": [{**annotation, "iscrowd": 0} for annotation in annotations],
        "categories": [{"id": 5, "name": "square"}, {"id": 9, "name": "circle"}],
    }
    (folder / "tiny.json").write_text(json.dumps(content))
    (folder / "config.yaml").write_text(CONFIG)
    entry = [["tiny", str(folder / "tiny.json"), str(folder / "images")]]
    line = ["--config", str(folder / "config.yaml"), "MODEL.DEVICE", "cpu"]
    return [*line, "DATASETS.COCO_JSON", str(entry), "OUTPUT_DIR", str(folder / "run")]


def write_images(folder: Path, count: int = 4) -> list[dict[str, Any]]:
    """Write pictures of noise; returns their entries in COCO's format."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    for index in range(count):
        pixels = rng.integers(0, 255, (64, 64, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{index}.png")
    return [{"id": i, "file_name": f"{i}.png", "height": 64, "width": 64} for i in range(count)]


def call(arguments: list[str], *before: str) -> subprocess.CompletedProcess[str]:
    """Run train_net.py in a process of its own; `before` may put torchrun before it."""
    return subprocess.run(
        [sys.executable, *before, str(PROJECT / "train_net.py"), *arguments],
        capture_output=True,
        text=True,
        timeout=300,
        env=environment(),
        cwd=PROJECT,
    )


def start(arguments: list[str], *before: str) -> subprocess.Popen[str]:
    """Begin to run train_net.py as the first of a new group of processes."""
    return subprocess.Popen(
        [sys.executable, *before, str(PROJECT / "train_net.py"), *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment(),
        cwd=PROJECT,
        start_new_session=True,
    )


def wait_for(process: subprocess.Popen[str], text: str) -> None:
    """Read what a process prints until a line has `text`."""
    assert process.stdout is not None
    seen = []
    for line in process.stdout:
        seen.append(line)
        if text in line:
            return
    raise AssertionError(f"{text!r} was not printed in:\n{''.join(seen)}")


def environment() -> dict[str, str]:
    """The variables of this process, with one thread."""
    return {**os.environ, "OMP_NUM_THREADS": "1"}


def log_of(output_dir: Path) -> str:
    """Return the text of a run's log.txt."""
    return (output_dir / "log.txt").read_text()
