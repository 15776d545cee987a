"""Registers the data sets of a config, and checks the names in DATASETS.TRAIN and TEST."""

import difflib
from collections.abc import Sequence
from pathlib import Path

from dyhead.d2.config import CfgNode
from dyhead.d2.data import DatasetCatalog
from dyhead.data.coco_json import named_sources, register_sources
from dyhead.data.shapes import NAMES, register_shapes
from dyhead.errors import UserError
from dyhead.picture_files import allow_pixels


def register_datasets(cfg: CfgNode) -> None:
    """Register the generated shapes and every data set that the config names; repeatable.

    Nothing is read or made until a data set is loaded.

    Raises:
        UserError: DATASETS.SOURCES, COCO_JSON or INPUT.MAX_PIXELS is malformed, or DATASETS.TRAIN
            or TEST names a data set that is not registered.
    """
    allow_pixels(cfg.INPUT.MAX_PIXELS)
    repaired_folder = Path(cfg.OUTPUT_DIR) / "repaired_annotations"
    register_shapes(repaired_folder)
    _refuse_names_of_shapes(named_sources(cfg))
    register_sources(cfg, repaired_folder)
    for key in ("TRAIN", "TEST"):
        names = cfg.DATASETS[key]
        for name in (names,) if isinstance(names, str) else names:
            _check_name(f"DATASETS.{key}", name)


def _refuse_names_of_shapes(entries: Sequence[Sequence[str]]) -> None:
    for name, *_ in entries:
        if name in NAMES:
            raise UserError(
                f"The data set name {name!r} in DATASETS.SOURCES or DATASETS.COCO_JSON belongs"
                " to the generated shapes: choose another one."
            )


def _check_name(key: str, name: str) -> None:
    if name in DatasetCatalog:
        return
    nearest = difflib.get_close_matches(name, DatasetCatalog.list(), n=3, cutoff=0.5)
    hint = f" Did you mean {' or '.join(nearest)}?" if nearest else ""
    raise UserError(
        f"{key} names the unknown data set {name!r}.{hint} Your own are registered by"
        " DATASETS.SOURCES, a list of [name, path, image folder]."
    )
