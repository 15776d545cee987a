"""A training of two steps on four pictures, as a command line and as a program."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
from PIL import Image

PROJECT = Path(__file__).parents[2]
CONFIG = f"""
_BASE_: {PROJECT}/configs/Base-ATSS-DyHead-R18-small.yaml
MODEL:
  DEVICE: cpu
  DYHEAD:
    NUM_CONVS: 1
DATASETS:
  TRAIN: ("tiny",)
  TEST: ("tiny",)
INPUT:
  MIN_SIZE_TRAIN: (64,)
  MIN_SIZE_TEST: 64
DATALOADER:
  NUM_WORKERS: 0
SOLVER:
  IMS_PER_BATCH: 2
  MAX_ITER: 2
  WARMUP_ITERS: 1
  CHECKPOINT_PERIOD: 1
"""


def write_tiny_training(folder: Path, num_images: int = 4) -> list[str]:
    """Write config and pictures; return the command line of a training into <folder>/run."""
    (folder / "images").mkdir()
    rng = np.random.default_rng(0)
    images, annotations = [], []
    for index in range(num_images):
        pixels = rng.integers(0, 255, (64, 64, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / "images" / f"{index}.png")
        images.append({"id": index, "file_name": f"{index}.png", "height": 64, "width": 64})
        box = {"category_id": 5, "bbox": [8, 8, 40, 40], "area": 1600, "iscrowd": 0}
        annotations.append({"id": index + 1, "image_id": index, **box})
    content = {
        "images": images,
        "annotations": annotations,
        "categories": [{"id": 5, "name": "square"}],
    }
    (folder / "tiny.json").write_text(json.dumps(content))
    (folder / "config.yaml").write_text(CONFIG)
    entry = [["tiny", str(folder / "tiny.json"), str(folder / "images")]]
    line = ["--config", str(folder / "config.yaml"), "DATASETS.COCO_JSON", str(entry)]
    return [*line, "OUTPUT_DIR", str(folder / "run")]


def start_training(arguments: list[str], *code: str, **variables: str) -> subprocess.Popen[str]:
    """Start train_net.py in a process of its own.

    Args:
        arguments: of its command line.
        code: lines of Python that run before it in the same process.
        variables: of its environment; unless they say otherwise nothing is compiled.
    """
    program = "\n".join(
        [
            *code,
            "import runpy, sys",
            f"sys.argv = ['train_net.py', *{arguments!r}]",
            f"runpy.run_path({str(PROJECT / 'train_net.py')!r}, run_name='__main__')",
        ]
    )
    return subprocess.Popen(
        [sys.executable, "-c", program],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "DYHEAD_CPP": "0", **variables},
        cwd=PROJECT,
    )


def run_training(
    arguments: list[str], *code: str, timeout: float = 240, **variables: str
) -> tuple[int, str]:
    """Run train_net.py as `start_training` does; return its exit status and all that it said."""
    process = start_training(arguments, *code, **variables)
    try:
        said, _ = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        process.kill()
        raise
    return process.returncode, said


def sentence_of(said: str) -> str:
    """Return the last line of what a program said, which has to be its only error."""
    assert "Traceback" not in said, said
    return said.strip().splitlines()[-1]
