"""`dyhead eval`: what `train_net.py --eval-only` does."""

import argparse

from dyhead.cli import train
from dyhead.cli.options import add_config, add_overrides, add_processes

DESCRIPTION = """
Score a detector on the data sets of DATASETS.TEST: AP, also by category, and a picture of its
detections beside the ground truth, in OUTPUT_DIR/inference.
"""

EXAMPLE = """
dyhead eval --config output/cells/config.yaml MODEL.WEIGHTS output/cells/model_final.pth
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what the command takes."""
    add_config(parser)
    parser.add_argument(
        "--resume",
        action="store_true",
        help="evaluate the last checkpoint in OUTPUT_DIR in the place of MODEL.WEIGHTS",
    )
    add_processes(parser)
    add_overrides(parser)


def run(args: argparse.Namespace) -> None:
    """Evaluate; raises what `train.run` raises."""
    train.run(args, eval_only=True)
