"""Arguments that several subcommands take."""

import argparse


def add_config(parser: argparse.ArgumentParser, required: bool = False) -> None:
    """Add `--config`, a file or a packaged config's name, as `args.config_file`."""
    parser.add_argument(
        "--config-file",
        "--config",
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
