"""Trains the paper's Table 3 in small: five detectors with and without DyHead, on BCCD.

    python experiments/bccd.py --data BCCD
    python experiments/bccd.py --data BCCD --table3-only --all-seeds --jobs 4 --budget 3600

BCCD holds train.json, val.json and images/ (https://github.com/Shenggan/BCCD_Dataset, in COCO
format). Every row is trained from random weights with the same short schedule (configs/bccd/); then
multi-scale testing and self-training are tried on ATSS. Runs that are already complete in --output
are not repeated; with --budget the table holds those that were complete in time. Results go to
experiments/results/bccd.{json,md}.
"""

import argparse
import json
import math
import os
import platform
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import torch
from tabulate import tabulate

from dyhead.safe_io.json_text import write_json

PROJECT = Path(__file__).parents[1]
RESULTS = PROJECT / "experiments" / "results"
DETECTORS = {
    "ATSS": "atss",
    "FCOS": "fcos",
    "RepPoints": "reppoints",
    "RetinaNet": "retinanet",
    "Faster R-CNN": "rcnn",
}
WITHOUT_DYHEAD = ("MODEL.DYHEAD.NUM_CONVS", "0")
AUGMENTED = ("TEST.AUG.ENABLED", "True")  # flips, at the sizes of training
WIDE = (*AUGMENTED, "TEST.AUG.MIN_SIZES", "(192, 256, 320, 384)", "TEST.AUG.MAX_SIZE", "576")
FUSED = ("TEST.AUG.MERGE", "wbf")


class Run(NamedTuple):
    """One training: its row in the table, its config with overrides, and its seed."""

    detector: str
    form: str
    config: str
    options: tuple[str, ...]
    seed: int

    @property
    def folder(self) -> str:
        """The folder of its files, below the output folder."""
        form = self.form.replace(" ", "_")
        return f"{self.detector.replace(' ', '_')}-{form}-seed{self.seed}"


class Experiment:
    """Starts commands of the project on one data set and collects their scores."""

    def __init__(
        self,
        data: Path,
        output: Path,
        jobs: int,
        options: Sequence[str] = (),
        budget: float = math.inf,
    ) -> None:
        self.data = data.resolve()
        self.output = output.resolve()
        self.jobs = jobs
        self.options = options
        self.deadline = time.monotonic() + budget

    def data_sets(self, **parts: tuple[Path, Path]) -> str:
        """Format DATASETS.COCO_JSON: BCCD's training and validation part, and `parts`."""
        images = self.data / "images"
        known = {
            "own_train": (self.data / "train.json", images),
            "own_val": (self.data / "val.json", images),
        }
        entries = {**known, **parts}
        return str([[name, str(path), str(folder)] for name, (path, folder) in entries.items()])

    def command(self, arguments: Sequence[str], log: Path) -> None:
        """Run Python with `arguments` on this process's share of the cores."""
        threads = max(1, (os.cpu_count() or 1) // self.jobs)
        environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
        log.parent.mkdir(parents=True, exist_ok=True)
        left = self.deadline - time.monotonic()
        with log.open("w") as out:
            subprocess.run(
                [sys.executable, *arguments],
                check=True,
                stdout=out,
                stderr=subprocess.STDOUT,
                cwd=PROJECT,
                env=environment,
                timeout=None if left == math.inf else max(0.1, left),
            )

    def train_net(self, config: str, folder: str, options: Sequence[str]) -> dict[str, float]:
        """Run train_net.py for scores and seconds; those of a complete run are read from disk."""
        output = self.output / folder
        done = output / "experiment.json"
        if not done.is_file():
            shutil.rmtree(output, ignore_errors=True)
            start = time.monotonic()
            self.command(
                ["train_net.py", "--config", f"configs/bccd/{config}.yaml", *options]
                + [*self.options, "OUTPUT_DIR", str(output)],
                self.output / f"{folder}.txt",
            )
            scores = json.loads((output / "inference" / "scores.json").read_text())
            write_json({**scores, "seconds": time.monotonic() - start}, done)
        return json.loads(done.read_text())

    def train(self, run: Run) -> dict[str, float] | None:
        """Train for scores; None if the budget ended before it."""
        options = [*run.options, "SEED", str(run.seed), "DATASETS.COCO_JSON", self.data_sets()]
        try:
            scores = self.train_net(run.config, run.folder, options)
        except subprocess.TimeoutExpired:
            print(f"{run.folder}: no time left", flush=True)
            return None
        print(f"{run.folder}: AP {scores['AP']:.1f}, {scores['seconds'] / 60:.1f} min", flush=True)
        return scores

    def all_of(self, work: Callable[[Any], Any], items: Sequence[Any]) -> list[Any]:
        """Run `work` on every item, as many at a time as there are jobs."""
        with ThreadPoolExecutor(self.jobs) as pool:
            return list(pool.map(work, items))


def table3_runs(seeds: Sequence[int], all_seeds: bool = False) -> list[Run]:
    """List every detector with and without DyHead, and Figure 2c's form, seed after seed.

    Args:
        seeds: of ATSS.
        all_seeds: they are those of every detector; else the others have the first one alone.
    """
    runs = []
    for seed in seeds:
        for detector, config in DETECTORS.items():
            if detector == "ATSS" or all_seeds or seed == seeds[0]:
                runs.append(Run(detector, "without", config, WITHOUT_DYHEAD, seed))
                runs.append(Run(detector, "with DyHead", config, (), seed))
        if all_seeds or seed == seeds[0]:
            form = "with DyHead (Figure 2c)"
            runs.append(Run("Faster R-CNN", form, "rcnn_figure2c", (), seed))
    return runs


def table3(experiment: Experiment, runs: Sequence[Run]) -> list[dict[str, Any]]:
    """Train one row per detector and form, with the scores of the seeds completed in time."""
    groups: dict[tuple[str, str], list[dict[str, float]]] = {}
    for run, scores in zip(runs, experiment.all_of(experiment.train, runs), strict=True):
        if scores is not None:
            groups.setdefault((run.detector, run.form), []).append(scores)
    return [
        {"detector": detector, "form": form, "runs": scores}
        for (detector, form), scores in groups.items()
    ]


def multi_scale_testing(experiment: Experiment, seed: int) -> dict[str, dict[str, float]]:
    """Score the trained ATSS with DyHead at one and at several scales."""
    weights = experiment.output / Run("ATSS", "with DyHead", "atss", (), seed).folder
    common = ["--eval-only", "DATASETS.COCO_JSON", experiment.data_sets()]
    common += ["MODEL.WEIGHTS", str(weights / "model_final.pth")]
    forms = {
        "one scale": (),
        "208 to 256 and flips, NMS": AUGMENTED,
        "208 to 256 and flips, box fusion": (*AUGMENTED, *FUSED),
        "192 to 384 and flips, NMS": WIDE,
        "192 to 384 and flips, box fusion": (*WIDE, *FUSED),
    }

    def evaluate(form: str) -> dict[str, float]:
        folder = f"test-{form.replace(' ', '_').replace(',', '')}"
        return experiment.train_net("atss", folder, [*common, *forms[form]])

    return dict(zip(forms, experiment.all_of(evaluate, list(forms)), strict=True))


def split_training_set(experiment: Experiment) -> tuple[Path, Path]:
    """Write a json with every fourth training image, and a folder with the others, unlabelled."""
    folder = experiment.output / "quarter"
    unlabelled = folder / "unlabelled"
    shutil.rmtree(folder, ignore_errors=True)
    unlabelled.mkdir(parents=True)
    whole = json.loads((experiment.data / "train.json").read_text())
    kept = {image["id"] for image in whole["images"][::4]}
    for image in whole["images"]:
        if image["id"] not in kept:
            name = image["file_name"]
            shutil.copy(experiment.data / "images" / name, unlabelled / Path(name).name)
    whole["images"] = [image for image in whole["images"] if image["id"] in kept]
    whole["annotations"] = [a for a in whole["annotations"] if a["image_id"] in kept]
    path = folder / "train.json"
    write_json(whole, path)
    return path, unlabelled


def matching_thresholds(labelled: Path, detections: Path, num_images: int) -> list[str]:
    """Choose class thresholds that give as many boxes per image as the labelled images have.

    Args:
        labelled: COCO json of the labelled images.
        detections: COCO results of the detector on `num_images` others; their labels are not used.
        num_images: of the detections.
    """
    truth = json.loads(labelled.read_text())
    found = json.loads(detections.read_text())
    options = []
    for category in truth["categories"]:
        boxes = [a for a in truth["annotations"] if a["category_id"] == category["id"]]
        wanted = round(len(boxes) * num_images / len(truth["images"]))
        scores = sorted(d["score"] for d in found if d["category_id"] == category["id"])
        options += ["--class-threshold", f"{category['name']}={scores[-wanted]:.3f}"]
    return options


def self_training(experiment: Experiment, seed: int) -> dict[str, dict[str, float]]:
    """Score ATSS with DyHead on a quarter of the labels, before and after labelling the rest.

    Both trainings have the same number of steps. Scores of 400 steps are low: at the default
    threshold of 0.5 nine cells of ten would be background.
    """
    quarter, unlabelled = split_training_set(experiment)
    images, pseudo = experiment.data / "images", experiment.output / "quarter" / "pseudo.json"
    before = f"quarter-seed{seed}"
    parts = experiment.data_sets(own_train=(quarter, images))
    options = ["SEED", str(seed), "DATASETS.COCO_JSON"]
    scores = {"a quarter": experiment.train_net("atss", before, [*options, parts])}
    labelling = ["-m", "dyhead", "pseudo-label", "--images", str(unlabelled)]
    labelling += ["--config", str(experiment.output / before / "config.yaml")]
    num_images = len(json.loads((experiment.data / "val.json").read_text())["images"])
    found = experiment.output / before / "inference" / "coco_instances_results.json"
    labelling += ["--output", str(pseudo), *matching_thresholds(quarter, found, num_images)]
    labelling += ["MODEL.WEIGHTS", str(experiment.output / before / "model_final.pth")]
    experiment.command(labelling, experiment.output / "pseudo-label.txt")
    both = experiment.data_sets(own_train=(quarter, images), pseudo=(pseudo, unlabelled))
    options += [both, "DATASETS.TRAIN", "('own_train', 'pseudo')", "DATASETS.TRAIN_RATIOS"]
    scores["a quarter and pseudo-labels"] = experiment.train_net(
        "atss", f"quarter-and-pseudo-labels-seed{seed}", [*options, "(1, 1)"]
    )
    return scores


def format_table3(rows: Sequence[dict[str, Any]]) -> str:
    """Format Table 3 as Markdown; several seeds as mean and range."""
    cells = []
    for row in rows:
        aps = [scores["AP"] for scores in row["runs"]]
        spread = f" ({min(aps):.1f} to {max(aps):.1f})" if len(aps) > 1 else ""
        mean = {key: statistics.mean(s[key] for s in row["runs"]) for key in row["runs"][0]}
        cells.append(
            [row["detector"], row["form"], f"{mean['AP']:.1f}{spread}"]
            + [f"{mean[key]:.1f}" for key in ("AP50", "AP75", "APs", "APm", "APl")]
            + [len(aps), f"{mean['seconds'] / 60:.1f}"]
        )
    headers = ["detector", "DyHead", "AP", "AP50", "AP75", "APs", "APm", "APl", "seeds", "minutes"]
    return tabulate(cells, headers, tablefmt="pipe", disable_numparse=True)


def format_forms(title: str, forms: dict[str, dict[str, float]]) -> str:
    """Format Markdown with one row per form."""
    keys = ("AP", "AP50", "AP75", "APs", "APm", "APl")
    cells = [[form, *(f"{scores[key]:.1f}" for key in keys)] for form, scores in forms.items()]
    return tabulate(cells, [title, *keys], tablefmt="pipe", disable_numparse=True)


def describe_machine(jobs: int) -> str:
    """Describe the machine of the times in one line."""
    cores = os.cpu_count()
    return (
        f"{platform.machine()}, {cores} CPU cores, {jobs} runs at a time; torch"
        f" {torch.__version__}, Python {platform.python_version()}."
    )


def report(results: dict[str, Any]) -> str:
    """Format all tables as Markdown."""
    parts = [
        "# BCCD: five detectors with and without DyHead",
        "Written by `python experiments/bccd.py`; 205 images to train on, 87 to validate, from"
        f" random weights, configs/bccd/. {results['machine']} Minutes are those of one run,"
        " training and evaluating.",
        format_table3(results["table3"]),
    ]
    if "multi_scale_testing" in results:
        parts += [
            "Multi-scale testing of the first seed's ATSS with DyHead:",
            format_forms("tested at", results["multi_scale_testing"]),
        ]
    if "self_training" in results:
        parts += [
            "Self-training of ATSS with DyHead: every fourth training image has labels, the first"
            " detector labels the others (as many boxes per image and class as the labelled ones"
            " have), the second is trained on both, for as many steps:",
            format_forms("trained on", results["self_training"]),
        ]
    return "\n\n".join(parts)


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="BCCD's folder")
    parser.add_argument("--output", type=Path, default=PROJECT / "output" / "bccd")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the report")
    parser.add_argument("--seeds", type=int, default=3, help="of ATSS; the others have one")
    parser.add_argument("--all-seeds", action="store_true", help="all detectors have that many")
    parser.add_argument("--table3-only", action="store_true", help="leave out what follows it")
    parser.add_argument(
        "--budget",
        type=float,
        default=math.inf,
        metavar="SECONDS",
        help="with --table3-only: the report holds what was complete by then",
    )
    parser.add_argument("--jobs", type=int, default=2, help="runs at a time, on a share of cores")
    parser.add_argument("opts", nargs="*", metavar="KEY VALUE", help="config overrides of all runs")
    arguments = parser.parse_intermixed_args()
    if arguments.budget != math.inf and not arguments.table3_only:
        parser.error("--budget needs --table3-only: the later parts build on complete runs")
    return arguments


def main() -> None:
    """Run what is not yet complete and write the report."""
    arguments = parse()
    experiment = Experiment(
        arguments.data, arguments.output, arguments.jobs, arguments.opts, arguments.budget
    )
    seeds = list(range(1, arguments.seeds + 1))
    results: dict[str, Any] = {
        "machine": describe_machine(arguments.jobs),
        "table3": table3(experiment, table3_runs(seeds, arguments.all_seeds)),
    }
    if not arguments.table3_only:
        results["multi_scale_testing"] = multi_scale_testing(experiment, seeds[0])
        results["self_training"] = self_training(experiment, seeds[0])
    arguments.results.mkdir(parents=True, exist_ok=True)
    write_json(results, arguments.results / "bccd.json", indent=1)
    text = report(results)
    (arguments.results / "bccd.md").write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
