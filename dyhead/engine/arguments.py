"""The command line of `train_net.py`, and the config that it names."""

import argparse
from collections.abc import Sequence

from dyhead.checkpoint.find import find_checkpoint, load_own_config
from dyhead.config import find_config, load_config
from dyhead.config.load import leaf_keys
from dyhead.d2.config import CfgNode
from dyhead.d2.engine import default_argument_parser
from dyhead.errors import UserError
from dyhead.evaluation.run_folder import LATER_FOLDER

# What a checkpoint's config says of the machine that it was trained on: no wish of the user's.
_OF_THE_MACHINE = {"MODEL.DEVICE", "DATALOADER.NUM_WORKERS"}


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


def load_run_config(args: argparse.Namespace) -> tuple[CfgNode, set[str]]:
    """Build the config that a command line names.

    Args:
        args: `config_file` and `opts`; where `checkpoint` names a run's folder or a file, that is
            MODEL.WEIGHTS, and its own config serves where `config_file` is "". A config's name
            becomes its path in place.

    Returns:
        as `load_config`: the config and the keys that it, not the defaults or the machine, sets.

    Raises:
        UserError: there is no config, or it cannot be used.
    """
    checkpoint = getattr(args, "checkpoint", "")
    if not args.config_file and not checkpoint:
        raise UserError("No config: name one, for example --config quickstart.")
    if not args.config_file:
        return _own_config(checkpoint, args.opts)
    args.config_file = str(find_config(args.config_file))  # either host's setup opens it
    cfg, explicit_keys = load_config(args.config_file, args.opts)
    if checkpoint:
        cfg.MODEL.WEIGHTS = str(find_checkpoint(checkpoint)[0])
    return cfg, explicit_keys


def _own_config(checkpoint: str, opts: list[str]) -> tuple[CfgNode, set[str]]:
    """Return a checkpoint's own config, on this machine, with an output folder beside the run's."""
    path, beside = find_checkpoint(checkpoint)
    output = str(path.parent / LATER_FOLDER)
    overrides = ["MODEL.DEVICE", "cuda", "OUTPUT_DIR", output, *opts]
    cfg = load_own_config(path, beside, overrides)
    cfg.MODEL.WEIGHTS = str(path)
    return cfg, (set(leaf_keys(cfg)) - _OF_THE_MACHINE) | set(opts[0::2])
