"""The command line of `train_net.py`."""

import argparse
from collections.abc import Sequence

from dyhead.d2.engine import default_argument_parser


def argument_parser() -> argparse.ArgumentParser:
    """Return Detectron2's parser with `--config` beside `--config-file`, and `--allow-partial`.

    Also changed: config overrides may stand anywhere on the line (the last element of Detectron2's
    line swallows every option that follows it), and `--dist-url` finds a free port by default.
    """
    parser = default_argument_parser()
    parser.add_argument(
        "--config",
        dest="config_file",
        default=argparse.SUPPRESS,
        metavar="FILE",
        help="the same as --config-file",
    )
    parser.add_argument(
        "--allow-partial",
        action="store_true",
        help="with --eval-only: evaluate with a warning where weights are missing, have another"
        " shape or are not finite, or where there are none at all",
    )
    parser.set_defaults(dist_url="auto")
    for action in parser._actions:
        if action.dest == "opts":
            action.nargs = "*"
            action.default = []
    return parser


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line (`sys.argv` by default)."""
    return argument_parser().parse_intermixed_args(arguments)
