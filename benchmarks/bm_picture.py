"""Time where the milliseconds of a picture go: reading, backbone, pyramid, blocks, head, NMS, ...

    python benchmarks/bm_picture.py output/cells cells/*.jpg --threads 2
    python benchmarks/bm_picture.py output/cells cells/*.jpg --set TEST.PRECISION bfloat16

One picture at a time goes through a trained dense detector with its weights, as `dyhead predict`
takes it. Every part's own time is without that of the parts within it.
"""

import argparse
import functools
import statistics
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from results import Row, add_common_arguments, report

from dyhead import Detector
from dyhead.cli.options import add_set
from dyhead.modeling.meta_arch.dense_detector import DenseDetector
from dyhead.prediction.torch_runner import TorchRunner

WARM_UP = 5  # pictures
ALL, REST = "all of it", "between the parts"


class Stopwatch:
    """Notes the own time of functions that call one another.

    Attributes:
        seconds: by name, since the last `take`.
    """

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self._within: list[float] = []  # of every open call: the seconds of the calls in it

    def watch(self, owner: Any, attribute: str, name: str) -> None:
        """Replace a function of an object by one that notes its time under a name."""
        setattr(owner, attribute, functools.partial(self.call, name, getattr(owner, attribute)))

    def call(self, name: str, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Call a function, and note its time."""
        self._within.append(0.0)
        begin = time.perf_counter()
        try:
            return function(*args, **kwargs)
        finally:
            seconds = time.perf_counter() - begin
            self.seconds[name] += seconds - self._within.pop()
            if self._within:
                self._within[-1] += seconds

    def take(self) -> dict[str, float]:
        """Return what was noted, and begin anew."""
        taken = dict(self.seconds)
        self.seconds.clear()
        return taken


def watch_parts(detector: Detector, watch: Stopwatch) -> None:
    """Watch the parts of a detector.

    Raises:
        SystemExit: it is none whose parts are known.
    """
    runner = detector.runner
    if not isinstance(runner, TorchRunner) or not isinstance(runner.model, DenseDetector):
        raise SystemExit("Name a run of ATSS, FCOS, RepPoints or DyHeadRetinaNet, not exported.")
    model: Any = runner.model
    watch.watch(runner, "_prepare", "resizing")
    watch.watch(model, "preprocess_image", "normalisation, padding")
    backbone = model.backbone
    pyramid = getattr(backbone, "fpn", backbone)
    watch.watch(pyramid.bottom_up, "forward", "backbone")
    watch.watch(pyramid, "forward", "pyramid")
    blocks = getattr(backbone, "blocks", None)
    if blocks is not None and any(True for _ in blocks.parameters()):
        watch.watch(blocks, "forward", "DyHead blocks")
    watch.watch(model.head, "forward", "head")
    watch.watch(model, "forward_inference", "decoding, NMS")


def measure(detector: Detector, pictures: list[Path], rounds: int) -> list[Row]:
    """Detect in all pictures in turn, and return the medians of every part."""
    watch = Stopwatch()
    watch_parts(detector, watch)

    def detect(path: Path) -> None:
        picture = watch.call("reading", detector.read, path)
        watch.call(REST, detector, picture)

    for number in range(WARM_UP):
        detect(pictures[number % len(pictures)])
    watch.take()
    taken = []
    for path in pictures * rounds:
        detect(path)
        taken.append(watch.take())
    names = list(dict.fromkeys(name for each in taken for name in each))
    totals = [sum(each.values()) for each in taken]
    rows = [_row(name, [each.get(name, 0.0) for each in taken], totals) for name in names]
    return [*rows, _row(ALL, totals, totals)]


def _row(name: str, seconds: list[float], totals: list[float]) -> Row:
    milliseconds = 1000 * statistics.median(seconds)
    share = round(100 * sum(seconds) / sum(totals), 1)
    return {"task": name, "milliseconds": milliseconds, "percent": share}


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", help="a run's folder, or a checkpoint")
    parser.add_argument("pictures", type=Path, nargs="+")
    add_common_arguments(parser)
    add_set(parser)
    parser.add_argument("--rounds", type=int, default=3, help="through all pictures")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> None:
    """Measure and print the table."""
    args = parse(arguments)
    torch.set_num_threads(args.threads)
    if args.device.type != "cpu":
        raise SystemExit("On a GPU calls return before their work is done: measure on a CPU.")
    detector = Detector(args.run, device="cpu", overrides=args.set)
    rows = measure(detector, args.pictures, args.rounds)
    setup = {"pictures": len(args.pictures), "rounds": args.rounds, "overrides": " ".join(args.set)}
    report("picture", setup, rows, args)


if __name__ == "__main__":
    main()
