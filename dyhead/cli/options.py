"""Arguments that several subcommands take, and the kinds of their values."""

import argparse
import os
from pathlib import Path

CONFIG_HELP = "a YAML file, or the name of a packaged config (`dyhead configs list`)"


def add_config(
    parser: argparse.ArgumentParser, required: bool = False, help: str = CONFIG_HELP
) -> None:
    """Add `--config`, a file or a packaged config's name, as `args.config_file`; "" by default."""
    parser.add_argument(
        "--config",
        "--config-file",
        dest="config_file",
        default="",
        required=required,
        metavar="CONFIG",
        help=help,
    )


def add_checkpoint(parser: argparse.ArgumentParser, help: str) -> None:
    """Add the run's folder or checkpoint that comes first on the line, as `args.checkpoint`."""
    parser.add_argument("checkpoint", metavar="CHECKPOINT_OR_RUN", help=help)


def add_sources(parser: argparse.ArgumentParser, videos: bool = False) -> None:
    """Add one or more places of pictures, as strings in `args.sources`.

    Args:
        parser: changed in place.
        videos: videos and cameras are taken, too.
    """
    patterns = "folders (with all below them), patterns such as 'a/**/*.jpg', http(s) addresses"
    parser.add_argument(
        "sources",
        nargs="+",
        metavar="SOURCE" if videos else "PICTURE",
        help=f"pictures, videos, {patterns}, cameras (0 or /dev/video0)"
        if videos
        else f"pictures, {patterns}",
    )


def add_output_folder(parser: argparse.ArgumentParser, help: str) -> None:
    """Add `--output DIR`, which has to be given, as the path `args.output`."""
    parser.add_argument("--output", type=path, required=True, metavar="DIR", help=help)


def add_detector_config(parser: argparse.ArgumentParser) -> None:
    """Add `--config`, as `add_config` does, and `--device`, for a detector from a checkpoint."""
    add_config(parser, help="the config, for a checkpoint that holds none")
    parser.add_argument(
        "--device", help="cuda, cuda:1, cpu, ... (default: a GPU where there is one)"
    )


def add_size(parser: argparse.ArgumentParser, help: str) -> None:
    """Add `--size HEIGHT WIDTH`, as `args.size`; None by default."""
    parser.add_argument("--size", nargs=2, type=int, metavar=("HEIGHT", "WIDTH"), help=help)


def add_threshold(
    parser: argparse.ArgumentParser, default: float, of: str, is_kept_open: bool = False
) -> None:
    """Add `--threshold SCORE`, the lowest score `of` something.

    Args:
        parser: of the subcommand.
        default: where the option is not given.
        of: what has the score, for the help.
        is_kept_open: `args.threshold` is None instead of `default` where the option is not given.
    """
    parser.add_argument(
        "--threshold",
        type=float,
        default=None if is_kept_open else default,
        metavar="SCORE",
        help=f"lowest score of {of} (default: {default})",
    )


def add_overrides(parser: argparse.ArgumentParser) -> None:
    """Add config overrides, KEY VALUE pairs at any place of the line, as `args.opts`."""
    parser.add_argument(
        "opts",
        nargs="*",
        default=[],
        metavar="KEY VALUE",
        help="config overrides, in pairs (`dyhead configs explain KEY`)",
    )


def add_set(parser: argparse.ArgumentParser) -> None:
    """Add `--set KEY VALUE`, config overrides where other words stand freely, as `args.set`.

    They are keys and values in turn, as `args.opts` of `add_overrides`.
    """
    parser.add_argument(
        "--set",
        nargs=2,
        action="extend",
        default=[],
        metavar=("KEY", "VALUE"),
        help="override a key of the config; may be repeated",
    )


def add_processes(parser: argparse.ArgumentParser) -> None:
    """Add on what and in how many processes to run, named as in Detectron2."""
    parser.add_argument(
        "--num-gpus",
        type=int,
        default=1,
        metavar="N",
        help="GPUs of each machine; 0 means the CPU (default: 1, or the CPU without a GPU)",
    )
    parser.add_argument(
        "--num-machines", type=int, default=1, metavar="N", help="number of machines (default: 1)"
    )
    parser.add_argument(
        "--machine-rank",
        type=int,
        default=0,
        metavar="RANK",
        help="this machine's number, from 0 (default: 0)",
    )
    parser.add_argument(
        "--dist-url",
        default="auto",
        metavar="URL",
        help="where processes meet, tcp://HOST:PORT; only several machines need it",
    )


def positive(text: str) -> int:
    """Read a whole number from 1 on: a `type` of arguments.

    Raises:
        argparse.ArgumentTypeError: it is none.
    """
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no positive number")
    return int(text)


def path(text: str) -> Path:
    """Read a path, in which `~` and $VARIABLES are expanded: a `type` of arguments."""
    return Path(os.path.expanduser(os.path.expandvars(text)))
