"""`dyhead predict` detects objects in pictures, folders, videos and cameras."""

import argparse
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from dyhead.cli.options import (
    add_checkpoint,
    add_detector_config,
    add_output_folder,
    add_set,
    add_sources,
    add_threshold,
    positive,
)
from dyhead.cli.output import log_to_terminal
from dyhead.errors import UserError

if TYPE_CHECKING:
    from dyhead.prediction.run import Outcome
    from dyhead.prediction.sources import Source

_BATCH_SIZE = 4

DESCRIPTION = """
Detect objects with a trained detector, and leave in the output folder a drawn picture or video for
each source, and all detections as predictions.json (COCO's result format, with file names) and
predictions.csv.

A picture that cannot be read is named, and the others go on; the exit status is 1 then.
Finding nothing is not an error. A run that is ended early leaves what was found until then.
"""

EXAMPLE = """
dyhead predict output/cells photos --output found
dyhead predict model_best.pth 'photos/**/*.jpg' clip.mp4 --output found --threshold 0.5
dyhead predict model.onnx 0 --output found --max-frames 500
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what the command takes."""
    add_checkpoint(parser, "a run's folder, a checkpoint, or an exported .onnx model")
    add_sources(parser, videos=True)
    add_output_folder(parser, "folder for what is found")
    _add_model_options(parser)
    _add_result_options(parser)


def _add_model_options(parser: argparse.ArgumentParser) -> None:
    add_detector_config(parser)
    parser.add_argument(
        "--batch",
        type=positive,
        metavar="N",
        help="pictures computed together, where their sizes allow it; of cameras it is always 1"
        f" (default: {_BATCH_SIZE})",
    )
    parser.add_argument(
        "--precision",
        choices=("float32", "bfloat16", "float16"),
        help="in which to compute (default: the config's TEST.PRECISION)",
    )
    parser.add_argument(
        "--multi-scale",
        action="store_true",
        help="look at every picture in several sizes, those of TEST.AUG",
    )
    add_set(parser)


def _add_result_options(parser: argparse.ArgumentParser) -> None:
    add_threshold(parser, 0.3, of="what is kept")
    parser.add_argument(
        "--classes",
        nargs="+",
        action="extend",
        metavar="NAME",
        help="keep these classes only; stands after the sources",
    )
    parser.add_argument(
        "--no-pictures",
        dest="draw",
        action="store_false",
        help="draw nothing, write predictions.json and predictions.csv only",
    )
    parser.add_argument(
        "--max-frames", type=positive, metavar="N", help="stop each video or camera after N frames"
    )


def run(args: argparse.Namespace) -> int:
    """Detect, and print the counts.

    Returns:
        the exit status: 1 if a source could not be read, 130 after an interruption, else 0.

    Raises:
        UserError: the detector or an option cannot be used, an option has no part in what is
            asked for, or no source is found.
    """
    from dyhead.prediction import Detector
    from dyhead.prediction.detections import class_indices
    from dyhead.prediction.run import PredictionRun, PredictSettings
    from dyhead.prediction.sources import find_sources

    overrides = _overrides(args)
    log_to_terminal()
    settings = PredictSettings(
        output=args.output,
        classes=args.classes,
        batch_size=args.batch or _BATCH_SIZE,
        draw=args.draw,
        max_frames=args.max_frames,
    )
    sources = find_sources(args.sources, settings.output)
    _check_sources(sources, args)
    detector = Detector(
        args.checkpoint,
        args.config_file or None,
        device=args.device,
        threshold=args.threshold,
        overrides=overrides,
    )
    # For its error alone: an unknown class is refused before hours of work, not after.
    class_indices(args.classes or (), detector.class_names)
    with _ended_in_order():
        outcome = PredictionRun(detector, sources, settings).run()
    print(_summary(outcome, settings.output))
    if outcome.is_interrupted:
        return 130
    return 1 if outcome.unreadable else 0


@contextmanager
def _ended_in_order() -> Iterator[None]:
    """Let SIGTERM, by which batch systems end a job, close what is being written.

    Raises:
        SystemExit: with 143, after that signal.
    """
    before = signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _overrides(args: argparse.Namespace) -> list[str]:
    """Return the config keys and values of --set, and of the options that stand for some."""
    overrides = list(args.set)
    for option, key, value in (
        ("--precision", "TEST.PRECISION", args.precision),
        ("--multi-scale", "TEST.AUG.ENABLED", "True" if args.multi_scale else None),
    ):
        if value is None:
            continue
        if key in args.set[::2]:
            raise UserError(f"{option} and --set {key} set the same key: leave one of them away.")
        overrides += [key, value]
    return overrides


def _check_sources(sources: Sequence["Source"], args: argparse.Namespace) -> None:
    """Refuse options that none of the sources would heed."""
    from dyhead.prediction.sources import Kind

    kinds = {source.kind for source in sources}
    if args.max_frames is not None and kinds == {Kind.PICTURE}:
        raise UserError(
            "--max-frames is for videos and cameras, and all sources are pictures: leave it away."
        )
    if args.batch is not None and kinds == {Kind.CAMERA}:
        raise UserError(
            "--batch is for pictures and videos, and a camera's are computed one by one: leave it"
            " away."
        )


def _summary(outcome: "Outcome", output: Path) -> str:
    counts = ", ".join(f"{count} {name}" for name, count in outcome.objects.most_common())
    rate = outcome.pictures / max(outcome.seconds, 1e-9)
    lines = [
        f"{outcome.pictures} pictures, {rate:.3g} per second: {counts or 'nothing found'}",
        f"Results: {output}",
    ]
    if outcome.unreadable:
        lines.append(f"{len(outcome.unreadable)} could not be read:")
        lines += [f"  {reason}" for reason in outcome.unreadable.values()]
    if outcome.is_interrupted:
        lines.append("Interrupted: the rest was not looked at.")
    return "\n".join(lines)
