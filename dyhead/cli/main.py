"""Entry point of the `dyhead` command."""

import argparse
from collections.abc import Sequence

from dyhead import __version__
from dyhead.cli import analyze, convert, pseudo_label
from dyhead.engine import exit_on_user_error

COMMANDS = (analyze, convert, pseudo_label)


def build_parser() -> argparse.ArgumentParser:
    """The parser with every subcommand; parsing sets `run`, a function of the arguments."""
    parser = argparse.ArgumentParser(prog="dyhead", description="Dynamic Head detectors.")
    parser.add_argument("--version", action="version", version=f"dyhead {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for command in COMMANDS:
        command.register(commands)
    return parser


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line (`sys.argv` by default); bad input ends it with one sentence."""
    args = build_parser().parse_args(arguments)
    with exit_on_user_error():
        args.run(args)
