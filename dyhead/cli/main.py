"""Entry point of the `dyhead` command.

A subcommand is a row of `COMMANDS` and a module with

    DESCRIPTION  what it does, for its --help; paragraphs are wrapped to the terminal
    EXAMPLE      one command line or more, printed as they are
    add_arguments(parser)  adds what it takes
    run(args) -> int | None  does it; what it returns is the exit status

The module is imported only where its subcommand is named, and imports nothing slow itself: `run`
does, so that every --help answers at once.
"""

import argparse
import importlib
import os
import re
import shutil
import sys
import textwrap
from collections.abc import Iterable, Sequence
from types import ModuleType
from typing import NamedTuple

from dyhead import __version__
from dyhead.errors import UserError
from dyhead.shortages import name_shortages


class Command(NamedTuple):
    """One subcommand."""

    name: str
    module: str
    help: str  # one line of `dyhead --help`


COMMANDS = (
    Command("check", "dyhead.cli.check", "look for faults of labelled data before a training"),
    Command("train", "dyhead.cli.train", "train a detector and evaluate it"),
    Command("eval", "dyhead.cli.eval", "score a detector on a data set"),
    Command("view", "dyhead.cli.view", "browse data and predictions in a browser"),
    Command("report", "dyhead.cli.report", "write a page on how good runs are and where they fail"),
    Command("predict", "dyhead.cli.predict", "detect in pictures, folders, videos and cameras"),
    Command("explain", "dyhead.cli.explain", "show what the attentions do for each detection"),
    Command("export", "dyhead.cli.export", "write a detector as an ONNX or a .pt2 file"),
    Command("pseudo-label", "dyhead.cli.pseudo_label", "label images with a trained detector"),
    Command("convert", "dyhead.cli.convert", "write a checkpoint's weights in another layout"),
    Command("convert-data", "dyhead.cli.convert_data", "write a labelled data set as a COCO json"),
    Command("analyze", "dyhead.cli.analyze", "count what a detector costs, part by part"),
    Command("configs", "dyhead.cli.configs", "list, show, compare and explain configs"),
    Command("info", "dyhead.cli.info", "print versions, devices, back ends and missing parts"),
)

DESCRIPTION = """
Dynamic Head detectors. `dyhead COMMAND --help` says more about a command, with an example.
"""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line (`sys.argv` by default); bad input ends it with one sentence.

    Raises:
        SystemExit: the command failed, with its exit status or a sentence, or was interrupted; or
            --help was given.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    command = next((command for command in COMMANDS if words[:1] == [command.name]), None)
    if command is None:
        overview = build_overview()
        overview.parse_args(words)  # --help, --version or a mistake: each of them ends the program
        overview.error("name the command first")
    module = importlib.import_module(command.module)
    args = _parse(build_parser(command, module), words[1:])
    try:
        with name_shortages():
            status = module.run(args)
    except UserError as error:
        sys.exit(f"Error: {error}")
    except KeyboardInterrupt:
        sys.exit(130)  # as a shell reports the end by that signal
    if status:
        sys.exit(status)


def build_overview() -> argparse.ArgumentParser:
    """Build the parser of the commands' names, without their arguments."""
    width = max(len(command.name) for command in COMMANDS)
    table = "\n".join(f"  {command.name:{width}}  {command.help}" for command in COMMANDS)
    parser = argparse.ArgumentParser(
        prog="dyhead",
        usage="%(prog)s [--help] [--version] COMMAND ...",
        description=_wrap(DESCRIPTION),
        epilog=f"commands:\n{table}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"dyhead {__version__}")
    names = [command.name for command in COMMANDS]
    parser.add_argument("command", metavar="COMMAND", choices=names, help=argparse.SUPPRESS)
    return parser


def build_parser(command: Command, module: ModuleType) -> argparse.ArgumentParser:
    """Build the parser of one subcommand from its module."""
    parser = argparse.ArgumentParser(
        prog=f"dyhead {command.name}",
        description=_wrap(module.DESCRIPTION),
        epilog=f"example:\n{textwrap.indent(module.EXAMPLE.strip(), '  ')}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    module.add_arguments(parser)
    return parser


def _wrap(text: str) -> str:
    width = shutil.get_terminal_size().columns - 2  # as argparse wraps the rest
    paragraphs = (" ".join(part.split()) for part in text.strip().split("\n\n"))
    return "\n\n".join(textwrap.fill(part, width) for part in paragraphs)


def _parse(parser: argparse.ArgumentParser, words: list[str]) -> argparse.Namespace:
    """Parse words; options may stand between KEY VALUE pairs, but not before a further command."""
    if parser._subparsers:  # which argparse cannot do both
        return parser.parse_args(words)
    args = parser.parse_intermixed_args(words)
    if "set" in args:
        _refuse_keys(parser, map(str, args.sources))
    return args


def _refuse_keys(parser: argparse.ArgumentParser, sources: Iterable[str]) -> None:
    """Refuse a key of the config among files, where several pairs follow one `--set`."""
    for source in sources:
        if re.fullmatch(r"[A-Z][A-Z0-9_]*(\.[A-Z0-9_]+)+", source) and not os.path.exists(source):
            parser.error(f"{source} is a key of the config: write --set before each key")
