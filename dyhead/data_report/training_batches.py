"""Draws training batches as the loader of a config gives them."""

import logging
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

from dyhead.d2.config import CfgNode
from dyhead.data.coco_json import class_names
from dyhead.data.register import register_datasets
from dyhead.data_report.collect import DrawnBatch
from dyhead.data_report.configured import NamedSource
from dyhead.errors import UserError
from dyhead.visualization.model_input import draw_model_input

_NAME = "checked_train"

logger = logging.getLogger(__name__)


def draw_batches(cfg: CfgNode, number: int, source: NamedSource | None = None) -> list[DrawnBatch]:
    """Draw the first batches of a training.

    Args:
        cfg: of the training; may be changed in place.
        number: of batches.
        source: what to train on; None for the config's DATASETS.TRAIN.

    Raises:
        UserError: the data sets cannot be used.
    """
    from dyhead.engine.trainer import Trainer  # takes long to import

    cfg = _with_known_pixels(cfg)
    with tempfile.TemporaryDirectory() as folder, _quiet():  # of repaired annotations
        cfg.OUTPUT_DIR = folder
        cfg.DATALOADER.NUM_WORKERS = 0
        if source is not None:
            image_root = [] if source.image_root is None else [str(source.image_root)]
            cfg.DATASETS.SOURCES, cfg.DATASETS.COCO_JSON = (
                [[_NAME, str(source.path), *image_root]],
                [],
            )
            cfg.DATASETS.TRAIN, cfg.DATASETS.TEST = (_NAME,), ()
            cfg.DATASETS.TRAIN_RATIOS = []
        register_datasets(cfg)
        names = class_names(cfg.DATASETS.TRAIN[0])
        loader = Trainer.build_train_loader(cfg)
        return [_draw(batch, cfg.INPUT.FORMAT, names) for batch in islice(loader, number)]


def _with_known_pixels(cfg: CfgNode) -> CfgNode:
    """Let MODEL.PIXELS_FROM_WEIGHTS act, where the weights are at hand."""
    from dyhead.checkpoint.pixels import settle_pixels  # takes long to import

    try:
        return settle_pixels(cfg)
    except UserError as error:
        logger.warning("The pictures of batches have the pixels of the config: %s", error)
        return cfg


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep what a training would log of its data from being said twice."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)


def _draw(batch: Sequence[dict[str, Any]], channel_order: str, names: Sequence[str]) -> DrawnBatch:
    return DrawnBatch(
        [
            (_caption(model_input), draw_model_input(model_input, channel_order, names))
            for model_input in batch
        ]
    )


def _caption(model_input: dict[str, Any]) -> str:
    height, width = model_input["image"].shape[-2:]
    boxes = len(model_input["instances"]) if "instances" in model_input else 0
    name = Path(model_input["file_name"]).name
    return f"{name}: {width} x {height}, {boxes} box{'es' * (boxes != 1)}"
