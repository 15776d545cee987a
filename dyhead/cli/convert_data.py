"""`dyhead convert-data` writes a labelled data set of any format as a COCO json."""

import argparse
from typing import TYPE_CHECKING

from dyhead.cli.options import path
from dyhead.cli.output import print_whole
from dyhead.errors import UserError

if TYPE_CHECKING:
    from dyhead.data.sources import Division

DESCRIPTION = """
Read a labelled data set (COCO, PASCAL VOC, YOLO, CVAT for images, Label Studio, labelme) and write
it as a COCO json. The format is recognised by content; `#train` or `#val` behind the path chooses a
part. A data set without parts of its own is divided by --val-ratio and --seed, images that are
nearly the same staying together (docs/data.md).

Labels are written as they stand, faults and all; those that have no place in COCO's format are
counted.
"""

EXAMPLE = """
dyhead convert-data VOC2007 voc.json
dyhead convert-data 'cells/data.yaml#val' val.json
dyhead convert-data 'tasks.json#train' train.json --images uploads --val-ratio 0.1
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what the command takes."""
    parser.add_argument("source", metavar="SOURCE", type=path, help="a file or folder of labels")
    parser.add_argument("output", metavar="OUT.json", type=path, help="the file to write")
    parser.add_argument(
        "--images",
        type=path,
        metavar="DIR",
        help="the image folder (default: the one that the source names, or its own)",
    )
    parser.add_argument(
        "--val-ratio",
        type=float,
        metavar="SHARE",
        help="of the images, for #val where the source has no parts (default: 0.2)",
    )
    parser.add_argument(
        "--seed", type=int, metavar="N", help="another number divides it otherwise (default: 0)"
    )


def run(args: argparse.Namespace) -> None:
    """Convert `args.source` to `args.output`.

    Raises:
        UserError: the source cannot be read, or is not divided as options say, or the output
            cannot be written.
    """
    from dyhead.data.sources import read_source
    from dyhead.data.sources.writing import write_coco

    source = read_source(args.source, args.images, _division(args))
    write_coco(source, args.output)
    counts = {key: len(source.content[key]) for key in ("images", "annotations", "categories")}
    lines = [
        f"{args.output}: {', '.join(f'{n} {key}' for key, n in counts.items())}, {source.kind}",
        f"Image folder: {source.image_root}",
        *([str(source.report)] if source.report.findings else []),
    ]
    print_whole("\n".join(lines))


def _division(args: argparse.Namespace) -> "Division | None":
    """Return the rule that options give; None where they give none.

    Raises:
        UserError: the source is not divided, or the share is none.
    """
    from dyhead.data.sources import Division, is_divided

    options = {"--val-ratio": args.val_ratio, "--seed": args.seed}
    given = " and ".join(name for name, value in options.items() if value is not None)
    if not given:
        return None
    if not is_divided(args.source):
        raise UserError(
            f"{given}: {args.source} is not divided, for it names no part, or has parts of its own:"
            f" leave out {given}, or name #train or #val of a source without parts."
        )
    ratio = Division.val_ratio if args.val_ratio is None else args.val_ratio
    if not 0 < ratio < 1:
        raise UserError(f"--val-ratio is {ratio}: give a share between 0 and 1.")
    return Division(ratio, args.seed or Division.seed)
