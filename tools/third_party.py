"""Run other projects' own programs, written for Detectron2, on the host that `dyhead.d2` chooses.

    DYNAMICHEAD_SOURCE=~/DynamicHead VOVNET_SOURCE=~/vovnet-detectron2 \\
        CENTERNET2_SOURCE=~/CenterNet2 python tools/third_party.py

The variables name checkouts of microsoft/DynamicHead, youngwanLEE/vovnet-detectron2 and
xingyizhou/CenterNet2; what has none is skipped, and said to be. Each trial is a process that calls
the `main` of the project's unchanged train_net.py with one of its unchanged configs, but for sizes:
a few steps of training on generated images under COCO's names, then the evaluation. On the
embedded host the name `detectron2` is `dyhead.d2_alias`'s.
"""

import argparse
import importlib.util
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from contextlib import AbstractContextManager, nullcontext
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from official_code import official_packages
from PIL import Image

ROOT = Path(__file__).parents[1]
IMAGES = {"train2017": 4, "val2017": 2}
RANGES = ([4, 4, 24, 24], [60, 40, 60, 50])  # of x, y, width and height in pixels
SMALL = {
    "MODEL.DEVICE": "cpu",
    "MODEL.WEIGHTS": "",
    "INPUT.MIN_SIZE_TRAIN": "(96,)",
    "INPUT.MIN_SIZE_TEST": "96",
    "INPUT.MAX_SIZE_TEST": "160",
    "DATALOADER.NUM_WORKERS": "0",
    "SOLVER.IMS_PER_BATCH": "2",
    "SOLVER.MAX_ITER": "2",
    "SOLVER.STEPS": "()",
    "SOLVER.BASE_LR": "1e-5",
}


# Detectron2's default when DynamicHead was written; its optimizer takes no None, today's.
DYNAMICHEAD = {"SOLVER.WEIGHT_DECAY_BIAS": "0.0001"}
# It logs nothing before the seventh step.
CENTERNET = {"SOLVER.MAX_ITER": "7"}


class Trial(NamedTuple):
    """A config of a checkout, the variable that names the checkout, and options of its own."""

    variable: str
    config: str
    options: dict[str, str] = {}


TRIALS = [
    Trial("DYNAMICHEAD_SOURCE", "dyhead_r50_atss_fpn_1x.yaml", DYNAMICHEAD),
    Trial("DYNAMICHEAD_SOURCE", "dyhead_r50_rcnn_fpn_1x.yaml", DYNAMICHEAD),
    Trial("DYNAMICHEAD_SOURCE", "dyhead_r50_retina_fpn_1x.yaml", DYNAMICHEAD),
    Trial("DYNAMICHEAD_SOURCE", "dyhead_swint_atss_fpn_2x_ms.yaml", DYNAMICHEAD),
    Trial("VOVNET_SOURCE", "faster_rcnn_V_19_slim_FPNLite_3x.yaml"),
    # Without evaluation: its one-stage inference fails in PyTorch of today on either host.
    Trial("CENTERNET2_SOURCE", "CenterNet-FPN_R50_1x.yaml", {**CENTERNET, "DATASETS.TEST": "()"}),
    Trial("CENTERNET2_SOURCE", "CenterNet2-F_R50_1x.yaml", CENTERNET),
]


def main() -> int:
    """Run every trial that has a checkout; return the number of those that failed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--trial", type=int, help="run one trial in this process (its number)")
    trial = parser.parse_args().trial
    if trial is not None:
        run_program(TRIALS[trial])
        return 0
    with tempfile.TemporaryDirectory() as folder:
        write_small_coco(Path(folder))
        return sum(not run_apart(index, Path(folder)) for index in range(len(TRIALS)))


def run_apart(index: int, folder: Path) -> bool:
    """Run a trial in a process of its own and print how it ended; whether it did not fail."""
    trial = TRIALS[index]
    name = f"{trial.variable.removesuffix('_SOURCE')} {trial.config}"
    if not os.environ.get(trial.variable):
        print(f"skipped  {name}: {trial.variable} names no checkout", flush=True)
        return True
    paths = [str(ROOT), os.environ.get("PYTHONPATH", "")]
    variables = {"DETECTRON2_DATASETS": str(folder), "PYTHONPATH": os.pathsep.join(paths)}
    begin = time.monotonic()
    done = subprocess.run(
        [sys.executable, str(Path(__file__).resolve()), "--trial", str(index)],
        env={**os.environ, **variables},
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    seconds = time.monotonic() - begin
    print(f"{'failed ' if done.returncode else 'passed '}  {name} ({seconds:.0f} s)", flush=True)
    if done.returncode:
        print("\n".join((done.stdout + done.stderr).splitlines()[-25:]), flush=True)
    else:
        print(f"         {done.stdout.splitlines()[-1]}", flush=True)
    return done.returncode == 0


def write_small_coco(folder: Path) -> None:
    """Write images of noise with coloured rectangles, and their json, under COCO's names."""
    from dyhead.d2.data import MetadataCatalog

    metadata = MetadataCatalog.get("coco_2017_train")
    ids = list(metadata.thing_dataset_id_to_contiguous_id)
    named = zip(ids, metadata.thing_classes, strict=True)
    categories = [{"id": number, "name": name} for number, name in named]
    random = np.random.default_rng(0)
    (folder / "coco" / "annotations").mkdir(parents=True)
    for split, count in IMAGES.items():
        (folder / "coco" / split).mkdir()
        content: dict[str, Any] = {"images": [], "annotations": [], "categories": categories}
        for number in range(1, count + 1):
            name = f"{number:012d}.jpg"
            pixels, boxes = draw_rectangles(random)
            Image.fromarray(pixels).save(folder / "coco" / split / name)
            content["images"].append({"id": number, "file_name": name, "width": 128, "height": 96})
            for box, category in zip(boxes, ids, strict=False):
                annotation = {"image_id": number, "category_id": category, "bbox": box}
                annotation |= {"id": len(content["annotations"]) + 1, "iscrowd": 0}
                content["annotations"].append({**annotation, "area": box[2] * box[3]})
        path = folder / "coco" / "annotations" / f"instances_{split}.json"
        path.write_text(json.dumps(content), encoding="utf-8")


def draw_rectangles(random: np.random.Generator) -> tuple[np.ndarray, list[list[int]]]:
    """Return an RGB image, uint8 (96, 128, 3), and the boxes of 3 rectangles in it, XYWH."""
    pixels = random.integers(0, 90, (96, 128, 3), dtype=np.uint8)
    boxes = random.integers([4, 4, 24, 24], [60, 40, 60, 50], (3, 4)).tolist()
    for x, y, width, height in boxes:
        pixels[y : y + height, x : x + width] = random.integers(120, 256, 3)
    return pixels, boxes


def run_program(trial: Trial) -> None:
    """Train and evaluate by the program of a checkout, and print the losses and the AP.

    Raises:
        RuntimeError: a loss is missing or not finite, or nothing was evaluated.
    """
    from dyhead import d2_alias

    d2_alias.install()
    checkout = Path(os.environ[trial.variable]).resolve()
    program = load_program(checkout)
    output = Path("output", trial.config).resolve()
    options = {**SMALL, **trial.options, "OUTPUT_DIR": str(output)}
    arguments = program.default_argument_parser().parse_args(
        ["--config-file", str(checkout / "configs" / trial.config), *chain(*options.items())]
    )
    program.launch(program.main, arguments.num_gpus, args=(arguments,))
    losses = read_losses(output / "metrics.json")
    if not losses or not all(math.isfinite(loss) for loss in losses.values()):
        raise RuntimeError(f"The losses of {trial.config} are {losses}.")
    from dyhead.d2 import HOST

    print(f"on {HOST}: {losses}")


def load_program(checkout: Path) -> Any:
    """Import a checkout's train_net.py; DynamicHead's with operators that CPUs have too."""
    sys.path.insert(0, str(checkout))
    packages: AbstractContextManager[Any] = nullcontext()
    if (checkout / "dyhead").is_dir():
        packages = official_packages(str(checkout))
    with packages:
        spec = importlib.util.spec_from_file_location("train_net", checkout / "train_net.py")
        assert spec is not None and spec.loader is not None
        program = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(program)
    return program


def read_losses(path: Path) -> dict[str, float]:
    """Return the last value of each loss in a metrics.json."""
    values: dict[str, float] = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        values.update({name: v for name, v in json.loads(line).items() if "loss" in name})
    return values


if __name__ == "__main__":
    sys.exit(main())
