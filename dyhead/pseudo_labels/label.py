"""Labels a folder: from a config to a COCO json, a picture and a table."""

import logging
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tabulate import tabulate
from torch import nn

from dyhead import __version__
from dyhead.d2.config import CfgNode
from dyhead.d2.evaluation import inference_on_dataset
from dyhead.data import fill_num_classes, register_datasets
from dyhead.data.coco_json import named_sources
from dyhead.data.sources.json_file import read_json
from dyhead.data.sources.parts import split_path
from dyhead.detector import ReadyDetector, prepare_detector
from dyhead.engine.precision import build_test_precision
from dyhead.errors import UserError, user_errors
from dyhead.modeling.tta import build_multi_scale_testing
from dyhead.output_folder import make_output_folder, refuse_inputs
from dyhead.pseudo_labels.categories import LabelledCategory, class_source, labelled_categories
from dyhead.pseudo_labels.collector import LabelCollector
from dyhead.pseudo_labels.images import ReadableOnly, build_image_loader, find_images
from dyhead.pseudo_labels.picture import draw_labels
from dyhead.safe_io.json_text import write_json

logger = logging.getLogger(__name__)

_DESCRIPTION = "Pseudo-labels of"
_MAX_NAMED = 50  # unreadable files in the warning


@dataclass(frozen=True)
class LabelSettings:
    """The options of labelling: folder, thresholds, output."""

    images: Path  # folder
    output: Path  # json file; a picture of the same name goes beside it
    threshold: float
    class_thresholds: Sequence[str] = ()  # "NAME=SCORE"
    keep_empty: bool = False  # list images without a label too
    max_images: int | None = None


def label_folder(cfg: CfgNode, explicit_keys: set[str], settings: LabelSettings) -> str:
    """Run the detector over a folder and write its labels as a COCO json.

    The json is written at the end and at once: an interrupted run leaves an older one as it was.
    Nothing but the json and the picture of an earlier run is written over.

    Args:
        cfg: changed in place to fit the data set and the machine.
        explicit_keys: the keys that the user set.
        settings: see above.

    Returns:
        a table of what was labelled.

    Raises:
        UserError: config, folder, weights, thresholds or output cannot be used, or no detection
            reaches its threshold.
    """
    _check_output(settings.output)
    _refuse_to_replace(cfg, settings)
    with user_errors():
        register_datasets(cfg)
        fill_num_classes(cfg, explicit_keys, eval_only=True)
        categories = labelled_categories(cfg, settings.threshold, settings.class_thresholds)
    files = find_images(settings.images, settings.max_images, without=_picture(settings))
    if "DATALOADER.NUM_WORKERS" not in explicit_keys:  # more than there are cores only wait
        cfg.DATALOADER.NUM_WORKERS = min(cfg.DATALOADER.NUM_WORKERS, os.cpu_count() or 1)
    detector = prepare_detector(cfg, dataset=class_source(cfg))
    logger.info("Labelling %d images of %s", len(files), settings.images)
    collector = LabelCollector(settings.images, categories, settings.keep_empty)
    inference_on_dataset(_build_model(detector), build_image_loader(detector.cfg, files), collector)
    _warn_of_unreadable(collector)
    _refuse_nothing(collector, settings)
    coco = _as_coco(cfg, settings, categories, collector)
    with user_errors(f"--output {settings.output}"):
        write_json(coco, settings.output)
        draw_labels(coco, settings.images, _picture(settings))
    return _format_table(settings, categories, collector)


def _build_model(detector: ReadyDetector) -> nn.Module:
    """Build the detector's model; at several scales if TEST.AUG.ENABLED, in TEST.PRECISION.

    Returns:
        a model for batches of `build_image_loader`; it answers None for an unreadable image.

    Raises:
        UserError: an option of TEST.AUG cannot be used.
    """
    cfg = detector.cfg
    model = build_test_precision(cfg, build_multi_scale_testing(cfg, detector.model))
    return ReadableOnly(model).eval()


def _picture(settings: LabelSettings) -> Path:
    return settings.output.with_suffix(".png")


def _check_output(output: Path) -> None:
    if output.suffix != ".json" or output.is_dir():
        raise UserError(f"--output {output}: give a file name that ends in .json.")
    make_output_folder(output.parent, f"--output {output}")


def _refuse_to_replace(cfg: CfgNode, settings: LabelSettings) -> None:
    output = settings.output
    refuse_inputs(output, [split_path(Path(path))[0] for _, path, *_ in named_sources(cfg)])
    found = [each for each in (output, _picture(settings)) if each.exists()]
    if found and not _is_of_earlier_run(output):
        raise UserError(
            f"{found[0]} is there already, and of no earlier run of this command: name another"
            " --output."
        )


def _is_of_earlier_run(output: Path) -> bool:
    try:
        info = dict(read_json(output)["info"])
    except (ValueError, LookupError, TypeError):  # UserError is a ValueError
        return False
    return str(info.get("description")).startswith(_DESCRIPTION)


def _warn_of_unreadable(collector: LabelCollector) -> None:
    unreadable = [f"{file} ({reason})" for file, reason in collector.unreadable.items()]
    if unreadable:
        more = len(unreadable) - _MAX_NAMED
        named = "; ".join(unreadable[:_MAX_NAMED]) + (f"; and {more} more" if more > 0 else "")
        logger.warning("%d images can't be read and were left out: %s", len(unreadable), named)


def _refuse_nothing(collector: LabelCollector, settings: LabelSettings) -> None:
    if not collector.num_images:
        raise UserError(f"Of the images of {settings.images} none can be read.")
    if not collector.annotations:
        raise UserError(
            f"No detection in {collector.num_images} images reaches its threshold, the highest"
            f" score being {collector.highest_score:.3f}: lower --threshold, or train longer."
        )


def _as_coco(
    cfg: CfgNode,
    settings: LabelSettings,
    categories: Sequence[LabelledCategory],
    collector: LabelCollector,
) -> dict[str, Any]:
    return {
        "info": {
            "description": f"{_DESCRIPTION} {settings.images}",
            "contributor": f"dyhead {__version__}",
            "checkpoint": cfg.MODEL.WEIGHTS,
            "multi_scale_testing": cfg.TEST.AUG.ENABLED,
            "thresholds": {category.name: category.threshold for category in categories},
        },
        "images": collector.images,
        "annotations": collector.annotations,
        "categories": [{"id": c.category_id, "name": c.name} for c in categories],
    }


def _format_table(
    settings: LabelSettings, categories: Sequence[LabelledCategory], collector: LabelCollector
) -> str:
    boxes = Counter(a["category_id"] for a in collector.annotations)
    pairs = {(a["category_id"], a["image_id"]) for a in collector.annotations}
    images = Counter(category_id for category_id, _ in pairs)
    rows: list[list[Any]] = [
        [c.name, c.threshold, boxes[c.category_id], images[c.category_id]] for c in categories
    ]
    labelled = len({a["image_id"] for a in collector.annotations})
    rows.append(["all", "", len(collector.annotations), labelled])
    table = tabulate(rows, headers=["class", "threshold", "boxes", "images"], tablefmt="pipe")
    empty = collector.num_images - labelled
    fate = "listed without boxes" if settings.keep_empty else "left out"
    return (
        f"{table}\n\n{labelled} of {collector.num_images} images have labels; {empty} without a"
        f" box above its threshold are {fate}; {len(collector.unreadable)} can't be read.\n"
        f"Labels: {settings.output}\nPicture: {_picture(settings)}"
    )
