"""`dyhead pseudo-label` labels images by a trained detector, to train on them."""

import argparse

from dyhead.cli.options import add_config, add_overrides, add_threshold, path, positive
from dyhead.cli.output import log_to_terminal

DESCRIPTION = """
Run a checkpoint over a folder of images and write what it finds as a COCO json, with a picture of
some images beside it. The category ids are those of the data set that the config names, so that the
result trains together with it (docs/self_training.md).
"""

EXAMPLE = """
dyhead pseudo-label --config output/cells/config.yaml --images unlabelled \\
  --output pseudo.json MODEL.WEIGHTS output/cells/model_final.pth
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what the command takes."""
    add_config(parser, required=True)
    parser.add_argument(
        "--images",
        type=path,
        required=True,
        metavar="FOLDER",
        help="searched with all its subfolders",
    )
    parser.add_argument(
        "--output", type=path, required=True, metavar="JSON", help="the file to write"
    )
    add_threshold(parser, 0.5, of="a label")
    parser.add_argument(
        "--class-threshold",
        action="append",
        default=[],
        metavar="NAME=SCORE",
        help="the same for one class; may be repeated",
    )
    _add_choice_of_images(parser)
    add_overrides(parser)


def _add_choice_of_images(parser: argparse.ArgumentParser) -> None:
    empty = parser.add_mutually_exclusive_group()
    empty.add_argument(
        "--skip-empty",
        dest="keep_empty",
        action="store_false",
        help="leave out images without a box above its threshold (default): that nothing was found"
        " doesn't mean that nothing is there",
    )
    empty.add_argument(
        "--keep-empty",
        action="store_true",
        help="list them without boxes; training takes them as pure background where"
        " DATALOADER.FILTER_EMPTY_ANNOTATIONS is False",
    )
    parser.set_defaults(keep_empty=False)
    parser.add_argument(
        "--max-images", type=positive, metavar="N", help="the first N, sorted by path"
    )


def run(args: argparse.Namespace) -> None:
    """Label, and print a table of the labels.

    Raises:
        UserError: see `dyhead.pseudo_labels.label_folder`.
    """
    import dyhead.modeling  # noqa: F401  registers the models
    from dyhead.config import load_config
    from dyhead.pseudo_labels import LabelSettings, label_folder

    log_to_terminal()
    cfg, explicit_keys = load_config(args.config_file, args.opts)
    settings = LabelSettings(
        images=args.images,
        output=args.output,
        threshold=args.threshold,
        class_thresholds=args.class_threshold,
        keep_empty=args.keep_empty,
        max_images=args.max_images,
    )
    print(label_folder(cfg, explicit_keys, settings))
