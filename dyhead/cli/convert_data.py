"""`dyhead convert-data` writes a labelled data set of any format as a COCO json."""

import argparse

from dyhead.cli.options import path
from dyhead.cli.output import print_whole

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
        default=0.2,
        metavar="SHARE",
        help="of the images, for #val where the source has no parts (default: %(default)s)",
    )
    parser.add_argument(
        "--seed", type=int, default=0, metavar="N", help="another number divides it otherwise"
    )


def run(args: argparse.Namespace) -> None:
    """Convert `args.source` to `args.output`.

    Raises:
        UserError: the source cannot be read, or the output cannot be written.
    """
    from dyhead.data.sources import Division, read_source
    from dyhead.data.sources.writing import write_coco

    division = Division(args.val_ratio, args.seed)
    source = read_source(args.source, args.images, division)
    write_coco(source, args.output)
    counts = {key: len(source.content[key]) for key in ("images", "annotations", "categories")}
    lines = [
        f"{args.output}: {', '.join(f'{n} {key}' for key, n in counts.items())}, {source.kind}",
        f"Image folder: {source.image_root}",
        *([str(source.report)] if source.report.findings else []),
    ]
    print_whole("\n".join(lines))
