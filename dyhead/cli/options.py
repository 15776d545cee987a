"""Arguments that several subcommands take."""

import argparse


def add_config(parser: argparse.ArgumentParser, required: bool = False) -> None:
    """Add `--config`, a file or a packaged config's name, as `args.config_file`."""
    parser.add_argument(
        "--config",
        "--config-file",
        dest="config_file",
        default="",
        required=required,
        metavar="CONFIG",
        help="a YAML file, or the name of a packaged config (`dyhead configs list`)",
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
