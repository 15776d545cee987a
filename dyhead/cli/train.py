"""`dyhead train` trains a detector and evaluates it, as `train_net.py`."""

import argparse

from dyhead.cli.options import add_config, add_overrides, add_processes

DESCRIPTION = """
Train a detector and evaluate it. Everything is said by the config and by overrides: data sets,
detector, schedule, and OUTPUT_DIR, where log, checkpoints, curves and scores go.

Without a GPU one CPU process trains. Under torchrun (`torchrun --nproc_per_node 8 -m dyhead train
...`) the processes that it starts are used.
"""

EXAMPLE = """
dyhead train --config quickstart
dyhead train --config own_dataset OUTPUT_DIR output/cells DATASETS.COCO_JSON \\
  "[[own_train, train.json, images], [own_val, val.json, images]]"
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what the command takes."""
    add_config(parser)
    parser.add_argument(
        "--resume",
        action="store_true",
        help="go on from the last checkpoint in OUTPUT_DIR, if there is one",
    )
    add_processes(parser)
    add_overrides(parser)


def run(args: argparse.Namespace, eval_only: bool = False) -> None:
    """Train, or only evaluate, in as many processes as the command line asks for.

    Raises:
        SystemExit: with one sentence, where config, data or weights cannot be used.
    """
    from dyhead.engine import exit_on_user_error, launch
    from dyhead.engine.train_net import main

    args.eval_only = eval_only
    with exit_on_user_error():
        launch(main, args)
