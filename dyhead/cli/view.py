"""`dyhead view` browses labelled data, and a run's predictions, in a browser on this machine."""

import argparse

from dyhead.cli.options import path
from dyhead.cli.output import print_whole

DESCRIPTION = """
Browse labelled data in a browser: pictures with their boxes, and for a run's folder the predictions
of its evaluation beside the ground truth, by class, score and kind of error.

The page is served to this machine alone until Ctrl-C; nothing is written, and nothing outside the
data's folders is shown. `?` in the page lists its keys; its address keeps all that is chosen
(docs/view.md).
"""

EXAMPLE = """
dyhead view output/cells
dyhead view cells/data.yaml --port 9000
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what the command takes."""
    parser.add_argument(
        "source",
        type=path,
        metavar="RUN_OR_SOURCE",
        help="a run's folder, or labelled data: a COCO json, or a file or folder of another kind"
        " (docs/data.md)",
    )
    parser.add_argument(
        "--port",
        type=int,
        default=8765,
        metavar="N",
        help="where to serve it; 0 for any port that is free (default: %(default)s)",
    )
    parser.add_argument(
        "--follow-links",
        action="store_true",
        help="show pictures too that links lead to outside the image folder",
    )


def run(args: argparse.Namespace) -> None:
    """Serve the page.

    Raises:
        UserError: see `dyhead.viewer.view`.
    """
    from dyhead.viewer import view

    view(args.source, args.port, args.follow_links, print_whole)
