"""`dyhead convert` writes weights of other codes in the project's or in the official layout."""

import argparse
import os

from dyhead.errors import UserError

DESCRIPTION = """
Read the weights of any checkpoint that MODEL.WEIGHTS takes, and write them under other names,
with the model card if there is one. Training states are left out.
"""

EXAMPLE = """
dyhead convert official_dyhead.pth dyhead.safetensors
dyhead convert --strip output/cells/model_0001299.pth cells.pth
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what the command takes."""
    parser.add_argument(
        "input",
        metavar="IN",
        help="a file, a run's folder, or an address such as detectron2://...",
    )
    parser.add_argument("output", metavar="OUT", help="a .safetensors or .pth file")
    parser.add_argument(
        "--layout",
        choices=("own", "official"),
        default="own",
        help="names of the weights: the project's own (default), or the official code's",
    )
    parser.add_argument(
        "--strip",
        action="store_true",
        help="keep the names as they are, whosever they are: only leave out what a training needs"
        " to go on (optimizer, schedule, iteration)",
    )


def run(args: argparse.Namespace) -> None:
    """Convert `args.input` to `args.output`.

    Raises:
        UserError: the input cannot be read or recognised, or the output cannot be written.
    """
    from dyhead.checkpoint.convert import convert
    from dyhead.checkpoint.find import find_checkpoint

    if args.strip and args.layout != "own":
        raise UserError("--strip keeps the names of the weights: leave --layout out.")
    args.input = str(find_checkpoint(args.input)[0])
    if args.strip:
        _run_strip(args)
        return
    imported = convert(args.input, args.output, args.layout)
    print(
        f"{args.output}: {len(imported.weights)} weights from {imported.source},"
        f" {args.layout} layout"
    )
    if imported.requirements and not imported.is_backbone:
        print("The original detector's config keys:")
        for key, value in imported.requirements.items():
            print(f"  {key} {value}")


def _run_strip(args: argparse.Namespace) -> None:
    from dyhead.checkpoint.convert import strip

    number = strip(args.input, args.output)
    sizes = [os.path.getsize(path) / 1e6 for path in (args.input, args.output)]
    print(f"{args.output}: {number} weights, {sizes[1]:.1f} MB in the place of {sizes[0]:.1f} MB")
