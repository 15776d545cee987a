"""`dyhead check` looks for faults of labelled data before a training."""

import argparse
from pathlib import Path

from dyhead.cli.options import CONFIG_HELP, add_config, add_set, path, positive
from dyhead.cli.output import print_whole

DESCRIPTION = """
Look for faults of labelled data before a training: files, sizes, ids, boxes and classes, and
pictures that are in the training and the validation data alike. Say what is done about each and
what to change, and describe what the data is made of: classes, and sizes of boxes against the
levels of a detector's pyramid.

The first source is for training, the second for validation. Without a source, the data sets of
--config are checked. No file of theirs is changed (docs/data.md).

The exit status is 3 where faults were found, else 0; notes alone are no faults.
"""

EXAMPLE = """
dyhead check cells/train.json cells/val.json --images cells/images --html check.html
dyhead check cells/train.json --write cells/mended.json
dyhead check --config output/cells/config.yaml --batches 2 --html seen.html
"""

FAULTS_FOUND = 3  # exit status
DEFAULT_PAGE = "check.html"  # of --batches without --html


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what the command takes."""
    parser.add_argument(
        "sources",
        nargs="*",
        type=path,
        metavar="SOURCE",
        help="a COCO json, or a file or folder of another kind (docs/data.md)",
    )
    parser.add_argument(
        "--images",
        type=path,
        action="append",
        default=[],
        metavar="DIR",
        help="the image folder, where the source does not tell; once for all sources, or once for"
        " each",
    )
    parser.add_argument(
        "--headers-only",
        action="store_true",
        help="decode no picture: files of the same content are found, those nearly alike and those"
        " damaged behind their headers are not",
    )
    _add_outputs(parser)
    _add_config_options(parser)


def _add_outputs(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--html", type=path, metavar="OUT.html", help="write a page with pictures of the faults"
    )
    parser.add_argument(
        "--json", type=path, metavar="OUT.json", help="write all that was found, for programs"
    )
    parser.add_argument(
        "--write",
        type=path,
        metavar="FIXED.json",
        help="write a mended copy of the source, as training would use it",
    )


def _add_config_options(parser: argparse.ArgumentParser) -> None:
    add_config(
        parser,
        help=f"the detector whose levels are looked at (default: own_dataset): {CONFIG_HELP}",
    )
    parser.add_argument(
        "--batches",
        type=positive,
        default=0,
        metavar="N",
        help="draw N training batches into the page (by default check.html), as the model of"
        " --config would see them",
    )
    add_set(parser)


def run(args: argparse.Namespace) -> int:
    """Check, and print what was found.

    Returns:
        the exit status.

    Raises:
        UserError: see `dyhead.data_report.check_data`.
    """
    from dyhead.data_report import CheckSettings, check_data
    from dyhead.data_report.text import format_report

    html = args.html or (Path(DEFAULT_PAGE) if args.batches else None)
    report = check_data(
        CheckSettings(
            sources=args.sources,
            images=args.images,
            config=args.config_file,
            overrides=args.set,
            html=html,
            json=args.json,
            write=args.write,
            batches=args.batches,
            by_pixels=not args.headers_only,
        )
    )
    written = [f"Written: {each}" for each in (html, args.json) if each]
    if args.write and report.sources[0].is_usable:
        written.append(f"Written: {args.write}")
    elif args.write:
        written.append(f"Not written: {args.write}, for nothing usable is left.")
    print_whole("\n".join([format_report(report), *written]))
    return FAULTS_FOUND if report.count(is_fault=True) else 0
