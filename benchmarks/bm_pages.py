"""Time what a reader waits for: the report of a run, and the answers of `dyhead view`.

    python benchmarks/bm_pages.py --pictures 500 1000 --threads 2 --steps 20

Pictures of 480 x 640 and their objects are generated, detections are made up from these: each
object is found a little aside, and the rest are anywhere. Steps are those of a reader in a headless
Chromium.
"""

import argparse
import functools
import itertools
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from browser_timing import time_in_browser
from measure import time_interleaved
from results import Row, add_common_arguments, report

from dyhead.config import load_config
from dyhead.data.shape_scenes import ShapesSpec
from dyhead.data.shapes import make_shapes
from dyhead.run_report.run import ReportSettings, write_report
from dyhead.safe_io.json_text import write_json
from dyhead.viewer.answers import Answers
from dyhead.viewer.load import find_sets, load_set

SIZE = (480, 640)
QUERIES = (
    "/pictures.json?low={low}&limit=60",
    "/pictures.json?low={low}&classes=1&limit=60",
    "/pictures.json?low={low}&kinds=1&order=most&limit=60",
)


def make_run(folder: Path, pictures: int, detections: int) -> Path:
    """Write what an evaluation of generated pictures leaves; returns the run's folder."""
    spec = ShapesSpec(*SIZE, num_train=1, num_val=pictures, min_objects=4, max_objects=12)
    root = make_shapes(folder, spec)
    run = folder / "run"
    (run / "inference").mkdir(parents=True)
    cfg, _ = load_config("quickstart")
    annotations = root / "annotations" / "instances_val.json"
    cfg.DATASETS.SOURCES = [["made_val", str(annotations), str(root / "val")]]
    cfg.DATASETS.TRAIN, cfg.DATASETS.TEST = (), ("made_val",)
    cfg.OUTPUT_DIR = str(run)
    (run / "config.yaml").write_text(cfg.dump(), encoding="utf-8")
    truth = json.loads(annotations.read_text(encoding="utf-8"))
    results = _make_detections(truth, detections)
    write_json(results, run / "inference" / "coco_instances_results.json")
    return run


def _make_detections(truth: dict[str, Any], count: int) -> list[dict[str, Any]]:
    rng = np.random.default_rng(0)
    classes = [category["id"] for category in truth["categories"]]
    found = []
    for image in truth["images"]:
        objects = [each for each in truth["annotations"] if each["image_id"] == image["id"]]
        for number in range(count):
            if number < len(objects):
                box = np.array(objects[number]["bbox"]) * rng.normal(1, 0.05, 4)
                category, score = objects[number]["category_id"], rng.beta(4, 2)
            else:
                box = rng.uniform(10, 200, 4)
                category, score = int(rng.choice(classes)), rng.beta(1, 6)
            found.append(
                {
                    "image_id": image["id"],
                    "category_id": category,
                    "bbox": [round(float(value), 2) for value in box],
                    "score": float(score),
                }
            )
    return found


def seconds_of(call: Callable[[], Any]) -> float:
    """Time one call."""
    begin = time.perf_counter()
    call()
    return time.perf_counter() - begin


def measure(folder: Path, pictures: int, detections: int, rounds: int, steps: int) -> list[Row]:
    """Measure with a number of pictures; without steps no browser is needed."""
    run = make_run(folder, pictures, detections)
    config = f"{pictures} pictures, {detections} detections each"
    settings = ReportSettings([run], folder / "report")
    rows = [("report", seconds_of(lambda: write_report(settings)))]
    sets: list[Any] = []
    rows.append(
        ("view: start", seconds_of(lambda: sets.extend(load_set(s) for s in find_sets(run))))
    )
    answers = Answers("run", sets)
    # another threshold each time, as a slider gives
    lows = itertools.cycle(np.linspace(0.05, 0.95, 37).round(3).tolist())

    def ask(query: str) -> None:
        answer = answers(query.format(low=next(lows)))
        if answer.status != 200:
            raise RuntimeError(answer.content.decode())

    calls = {f"view: {query}": functools.partial(ask, query) for query in QUERIES}
    timings = time_interleaved(calls, rounds, torch.device("cpu"))
    in_browser = time_in_browser(answers, pictures, steps) if steps else []
    return [
        *({"config": config, "task": task, "milliseconds": 1000 * value} for task, value in rows),
        *(
            {
                "config": config,
                "task": task,
                "milliseconds": 1000 * timing.median,
                "quartiles": [1000 * timing.low, 1000 * timing.high],
            }
            for task, timing in timings.items()
        ),
        *({"config": config, **row} for row in in_browser),
    ]


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_common_arguments(parser)
    parser.add_argument("--pictures", type=int, nargs="+", default=[500, 1000])
    parser.add_argument("--detections", type=int, default=50, help="of each picture")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=0, help="in a browser, which has to be there")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> None:
    """Measure and print the table."""
    args = parse(arguments)
    torch.set_num_threads(args.threads)
    rows: list[Row] = []
    for pictures in args.pictures:
        with tempfile.TemporaryDirectory() as folder:
            rows += measure(Path(folder), pictures, args.detections, args.rounds, args.steps)
    report("pages", {"detections": args.detections}, rows, args)


if __name__ == "__main__":
    main()
