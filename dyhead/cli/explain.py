"""`dyhead explain` shows what the attentions do for each detection."""

import argparse
from collections.abc import Sequence
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
    from dyhead.explanation.run import Explained

DESCRIPTION = """
Show for each detection the level of the pyramid that it came from, the weights that the scale
attention gave the branches of that level block by block, the points that the spatial attention
sampled for it, traced back to the picture, and the channels that the task attention switched.

The output folder gets explanations.html, a page in which a click on a box shows all of this,
explanations.json with the same values, and pictures; every 20 pictures have a page. All values are
those of the forward pass that found the detections.

--figures draws figures of the DyHead paper over all pictures instead: 3, histograms of the scale
attention's ratios per level, and 4, feature maps before and after the blocks.
"""

_THRESHOLD = 0.3

EXAMPLE = """
dyhead explain output/cells photos/1.jpg photos/2.jpg --output explained
dyhead explain model_best.pth photo.jpg --output explained --block 1 --threshold 0.5
dyhead explain output/cells cells/images --figures 3,4 --output figures
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what the command takes."""
    add_checkpoint(parser, "a run's folder or a checkpoint")
    add_sources(parser)
    add_output_folder(parser, "folder for what is written")
    parser.add_argument(
        "--block",
        type=positive,
        metavar="N",
        help="the DyHead block whose sampling points are traced (default: the last one)",
    )
    parser.add_argument(
        "--figures",
        type=_figures,
        default=(),
        metavar="3,4",
        help="draw these figures of the paper over all pictures, and explain none of them",
    )
    add_threshold(parser, _THRESHOLD, of="what is explained", is_kept_open=True)
    add_detector_config(parser)
    add_set(parser)


def _figures(text: str) -> tuple[int, ...]:
    """Read numbers of figures, with commas between them: a `type` of arguments."""
    numbers = [word.strip() for word in text.split(",")]
    if not set(numbers) <= {"3", "4"}:
        raise argparse.ArgumentTypeError(f"{text!r} names no figures: give 3, 4 or 3,4")
    return tuple(map(int, numbers))


def run(args: argparse.Namespace) -> int:
    """Explain, and print what was written.

    Returns:
        the exit status: 1 if a picture could not be read, else 0.

    Raises:
        UserError: the detector cannot be explained, an option has no part in what is asked for,
            or no picture is found.
    """
    from dyhead.explanation.figures import draw_figures
    from dyhead.explanation.run import explain_pictures
    from dyhead.prediction import Detector
    from dyhead.prediction.sources import find_sources

    if args.figures and args.block is not None:
        raise UserError("--figures shows all blocks: leave --block away.")
    if args.figures and args.threshold is not None:
        raise UserError("--figures shows no detections: leave --threshold away.")
    log_to_terminal()
    threshold = _THRESHOLD if args.threshold is None else args.threshold
    sources = find_sources(args.sources, args.output)
    detector = Detector(
        args.checkpoint,
        args.config_file or None,
        device=args.device,
        threshold=threshold,
        overrides=args.set,
    )
    if args.figures:
        written, unreadable = draw_figures(detector.runner, sources, args.output, args.figures)
        print("\n".join([*(f"Written: {path}" for path in written), *_left_out(unreadable)]))
        return 1 if unreadable else 0
    outcome = explain_pictures(
        detector, sources, args.output, source=str(args.checkpoint), block=args.block
    )
    print(_summary(outcome, threshold))
    return 1 if outcome.unreadable else 0


def _summary(outcome: "Explained", threshold: float) -> str:
    from dyhead.explanation.run import MAX_DRAWN

    lines = [
        f"{outcome.detections} detections in {outcome.pictures}"
        f" picture{'s' if outcome.pictures != 1 else ''}",
        *(f"Page: {page}" for page in outcome.pages),
    ]
    if not outcome.detections:
        lines.append(f"No detection has a score of {threshold:g}: lower --threshold.")
    if outcome.not_drawn:
        lines.append(
            f"{outcome.not_drawn} detections have no drawing of their own, for a picture gets"
            f" {MAX_DRAWN} of them: the page has all."
        )
    return "\n".join([*lines, *_left_out(list(outcome.unreadable.values()))])


def _left_out(reasons: Sequence[str]) -> list[str]:
    """Name the pictures that could not be read."""
    return [f"{len(reasons)} could not be read:", *(f"  {r}" for r in reasons)] if reasons else []
