"""Tests what padding does to a small detector, with and without it in its statistics.

    python experiments/padding.py --data output/data/bccd

The data may have any format (docs/data.md); experiments/public_data.py makes BCCD.
configs/own_dataset.yaml is trained with a short schedule, once with MODEL.PADDING_IN_STATISTICS and
once without. Then each one's weights are tested under more and more padding: every picture stands
in a batch with a larger one. Besides, steps of both are timed in turns. Runs that are complete in
--output, of the same options and data, are not repeated. The report goes to
experiments/results/padding.{json,md}.
"""

import argparse
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from data_sets import DataSet, annotations_digest, find_data_set, prepare_data
from study_plan import fingerprint
from tabulate import tabulate
from torch import Tensor, nn

from dyhead.checkpoint.pixels import settle_pixels
from dyhead.config import load_config
from dyhead.d2.utils.events import EventStorage
from dyhead.data import fill_num_classes, register_datasets
from dyhead.detector import load_detector
from dyhead.engine import exit_on_user_error
from dyhead.engine.optimizer import build_optimizer
from dyhead.engine.trainer import Trainer
from dyhead.safe_io.json_text import write_json

PROJECT = Path(__file__).parents[1]
RESULTS = PROJECT / "experiments" / "results"
CONFIG = PROJECT / "configs" / "own_dataset.yaml"
SHORT = ["SOLVER.MAX_ITER", "400", "SOLVER.WARMUP_ITERS", "40", "TEST.EVAL_PERIOD", "0"]
KEY = "MODEL.PADDING_IN_STATISTICS"
# Of the shorter side. Pictures of 3:4 become 384 x 512, multiples of 128, or 352 x 469, which are
# not and have to be padded.
TEST_SIZES = (384, 352)
SHARES = (0.0, 0.1, 0.2, 0.3)  # by which the other picture of a batch is higher and wider


class Beside(nn.Module):
    """A detector whose pictures each stand in a batch with a larger, empty one."""

    def __init__(self, detector: nn.Module, share: float) -> None:
        """Take the detector, and by what share of its sides the other picture is larger."""
        super().__init__()
        self.detector, self.share = detector, share
        # As in a training: evaluations would keep the two apart.
        self.forward_together = type(detector).base.forward  # type: ignore[attr-defined]

    def forward(self, batched_inputs: list[dict[str, Any]]) -> list[Any]:
        """Detect in one picture after the other."""
        return [self.forward_together(self.detector, self._pair(x))[0] for x in batched_inputs]

    def _pair(self, picture: dict[str, Any]) -> list[dict[str, Any]]:
        if self.share == 0:
            return [picture]
        image = picture["image"]
        size = [round(side * (1 + self.share)) for side in image.shape[1:]]
        return [picture, {"image": image.new_zeros(image.shape[0], *size)}]


def run_folder(output: Path, data: DataSet, digest: str, options: Sequence[str]) -> Path:
    """Name the folder of a training: other options, recipes or annotations have another one."""
    key = f"{fingerprint(CONFIG, tuple(options))}-{digest}"
    return output / f"{data.name}-{key}"


def train(run: Path, options: Sequence[str]) -> None:
    """Train with overrides of the config, unless that is done."""
    if (run / "model_final.pth").is_file():
        return
    command = [sys.executable, "train_net.py", "--config", str(CONFIG), *options]
    subprocess.run([*command, "OUTPUT_DIR", str(run)], check=True, cwd=PROJECT)


def test(run: Path, share: float, options: Sequence[str]) -> dict[str, float]:
    """Compute the scores of a run's weights, every picture beside one larger by a share."""
    ready = load_detector(run, overrides=[*options, "OUTPUT_DIR", str(run / "padded")])
    register_datasets(ready.cfg)
    scores: dict[str, float] = Trainer.test(ready.cfg, Beside(ready.model, share))["bbox"]
    return scores


def rows_of(run: Path, padded: bool) -> Iterator[dict[str, Any]]:
    """Test a run's weights: yields the shorter side, what was padded, and the scores."""
    least = ["MODEL.DYHEAD.SIZE_DIVISIBILITY", "32"] if padded else []
    for size in TEST_SIZES:
        options = ["INPUT.MIN_SIZE_TEST", str(size)]
        tests = [(f"{share:.0%} and more" if share else "least", share, least) for share in SHARES]
        for padding, share, more in [("multiples of 128", 0.0, [])] * padded + tests:
            scores = test(run, share, [*options, *more])
            yield {"shorter side": size, "padding": padding, "scores": scores}


class Stepper:
    """Times steps of the training that a config describes."""

    def __init__(self, options: Sequence[str], folder: Path) -> None:
        """Build the detector and its batches."""
        cfg, explicit_keys = load_config(str(CONFIG), options)
        cfg.MODEL.DEVICE = "cpu"
        cfg.OUTPUT_DIR = str(folder)  # where faults of labels are mended
        register_datasets(cfg)
        fill_num_classes(cfg, explicit_keys)
        cfg.DATALOADER.NUM_WORKERS = 0
        cfg = settle_pixels(cfg)
        torch.manual_seed(0)
        self.model = Trainer.build_model(cfg).train()
        self.optimizer = build_optimizer(cfg, self.model)
        self.batches: Any = iter(Trainer.build_train_loader(cfg))

    def step(self) -> float:
        """Return the seconds of a step without its loading."""
        batch = next(self.batches)
        start = time.perf_counter()
        losses: dict[str, Tensor] = self.model(batch)
        self.optimizer.zero_grad()
        torch.stack(list(losses.values())).sum().backward()
        self.optimizer.step()
        return time.perf_counter() - start


def time_steps(options: Sequence[str], count: int, folder: Path) -> dict[str, float]:
    """Return the mean seconds of a step with and without padding, measured in turns."""
    steppers = {flag: Stepper([*options, KEY, flag], folder) for flag in ("True", "False")}
    seconds = dict.fromkeys(steppers, 0.0)
    with EventStorage():
        for number in range(-3, count):  # the first three only warm up
            for flag, stepper in steppers.items():
                seconds[flag] += stepper.step() if number >= 0 else 0.0 * stepper.step()
    return {flag: total / count for flag, total in seconds.items()}


def report(results: dict[str, Any]) -> str:
    """Format the results as Markdown."""
    cells = [
        [form, str(row["shorter side"]), row["padding"]]
        + [f"{row['scores'][key]:.1f}" for key in ("AP", "AP50", "AP75")]
        for form, rows in results["scores"].items()
        for row in rows
    ]
    form = f"{KEY}, in training and test"
    headers = [form, "shorter side", "padding in the test", "AP", "AP50", "AP75"]
    seconds = results["seconds"]
    sizes = ", ".join(map(str, results["training sizes"]))
    return "\n\n".join(
        [
            f"# {results['data']}: weights tested under more padding",
            f"Written by `python experiments/padding.py`; {results['steps']} steps of"
            f" configs/own_dataset.yaml at {sizes} pixels, seed {results['seed']}; torch"
            f" {torch.__version__}. Where a picture's sides are multiples of 128 already, the first"
            " row of a shorter side is the same test as the second.",
            tabulate(cells, headers, tablefmt="pipe", disable_numparse=True),
            f"A step of training takes {seconds['False']:.3f} s without padding and"
            f" {seconds['True']:.3f} s with it ({seconds['False'] / seconds['True']:.2f} times),"
            f" on {torch.get_num_threads()} threads, in turns.",
        ]
    )


def run_all(args: argparse.Namespace) -> dict[str, Any]:
    """Train, test and time.

    Raises:
        UserError: the data cannot be used.
    """
    output = args.output.resolve()
    data = find_data_set(args.data)
    digest = annotations_digest(prepare_data(data, output / "data"))
    options = [*SHORT, *data.options, *args.opts]
    cfg, _ = load_config(str(CONFIG), options)
    scores = {}
    for flag in ("True", "False"):
        own = [*options, KEY, flag]
        run = run_folder(output, data, digest, own)
        train(run, own)
        scores[flag] = list(rows_of(run, padded=flag == "True"))
    return {
        "data": data.name,
        "steps": cfg.SOLVER.MAX_ITER,
        "seed": cfg.SEED,
        "training sizes": list(cfg.INPUT.MIN_SIZE_TRAIN),
        "scores": scores,
        "seconds": time_steps(options, args.steps, output),
    }


def main() -> None:
    """Train, test and report."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="labelled data")
    parser.add_argument("--output", type=Path, default=PROJECT / "output" / "padding")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the report")
    parser.add_argument("--steps", type=int, default=40, help="that are timed of each form")
    parser.add_argument("opts", nargs="*", metavar="KEY VALUE", help="config overrides of all runs")
    args = parser.parse_args()
    with exit_on_user_error():
        results = run_all(args)
    args.results.mkdir(parents=True, exist_ok=True)
    write_json(results, args.results / "padding.json")
    text = report(results)
    (args.results / "padding.md").write_text(text + "\n", encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
