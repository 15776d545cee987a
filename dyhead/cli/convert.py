"""`dyhead convert`: anybody's weights in the project's own, or in the official, layout."""

import argparse

DESCRIPTION = """
Read the weights of any checkpoint that MODEL.WEIGHTS takes, and write them under other names.
Training states are left out.
"""

EXAMPLE = "dyhead convert official_dyhead.pth dyhead.safetensors"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what the command takes."""
    parser.add_argument(
        "input", metavar="IN", help="a file, or an address such as detectron2://..."
    )
    parser.add_argument("output", metavar="OUT", help="a .safetensors or .pth file")
    parser.add_argument(
        "--layout",
        choices=("own", "official"),
        default="own",
        help="names of the weights: the project's own (default), or the official code's",
    )


def run(args: argparse.Namespace) -> None:
    """Convert `args.input` to `args.output`.

    Raises:
        UserError: the input cannot be read or recognised, or the output cannot be written.
    """
    from dyhead.checkpoint.convert import convert

    imported = convert(args.input, args.output, args.layout)
    print(
        f"{args.output}: {len(imported.weights)} weights from {imported.source},"
        f" {args.layout} layout"
    )
    if imported.requirements and not imported.is_backbone:
        print("Where they come from, the config says:")
        for key, value in imported.requirements.items():
            print(f"  {key} {value}")
