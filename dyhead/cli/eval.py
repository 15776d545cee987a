"""`dyhead eval` scores a run's folder, a checkpoint or a config, as `train_net.py --eval-only`."""

import argparse

from dyhead.cli import train
from dyhead.cli.options import add_config, add_processes
from dyhead.errors import UserError

DESCRIPTION = """
Score a detector on the data sets of DATASETS.TEST: AP, also by category, and a picture of its
detections beside the ground truth.

RUN is the folder of a training (its best checkpoint, else its last) or a checkpoint. Without
--config it is evaluated as its own config says, into a folder `evaluation` beside it. With --config
it takes the place of MODEL.WEIGHTS.
"""

EXAMPLE = """
dyhead eval output/cells
dyhead eval output/cells/model_0001299.pth TEST.AUG.ENABLED True OUTPUT_DIR output/cells_scales
dyhead eval --config dyhead_r50_atss_fpn_1x --num-gpus 8 MODEL.WEIGHTS official_dyhead.pth
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what the command takes."""
    parser.usage = "%(prog)s [RUN] [options] [KEY VALUE ...]"
    parser.add_argument(
        "words",
        nargs="*",
        default=[],
        metavar="[RUN] KEY VALUE",
        help="a run's folder or a checkpoint; config overrides, in pairs",
    )
    add_config(parser)
    parser.add_argument(
        "--allow-partial",
        action="store_true",
        help="go on with a warning where weights are missing, have another shape or are not finite,"
        " or where there are none at all",
    )
    add_processes(parser)


def run(args: argparse.Namespace) -> None:
    """Evaluate; errors are those of `train.run`."""
    has_run = len(args.words) % 2  # the others are pairs
    if args.words and not has_run and not args.config_file:
        raise UserError(
            "RUN goes before overrides in pairs, KEY VALUE (not KEY=VALUE):"
            f" {args.words[-1]!r} has no partner, or RUN is missing."
        )
    args.checkpoint, args.opts = "".join(args.words[:has_run]), args.words[has_run:]
    args.resume = False
    del args.words
    train.run(args, eval_only=True)
