"""Finds the files of the data sets that a config names."""

from dataclasses import dataclass, replace
from pathlib import Path

from dyhead.d2.config import CfgNode
from dyhead.d2.data import DatasetCatalog, MetadataCatalog
from dyhead.data.coco_json import named_sources
from dyhead.data.register import register_datasets
from dyhead.errors import UserError


@dataclass(frozen=True)
class NamedSource:
    """A source as it is named.

    Attributes:
        role: what it is for, "train", "val" or a name.
        path: its file or folder.
        image_root: its image folder, if told.
        is_for_training: it is one of those to train on.
    """

    role: str
    path: Path
    image_root: Path | None = None
    is_for_training: bool = False


def configured_sources(cfg: CfgNode) -> list[NamedSource]:
    """Return the sources of DATASETS.TRAIN, then of DATASETS.TEST, under their names.

    Raises:
        UserError: there are none, or one of them is not made of files.
    """
    register_datasets(cfg)
    names = dict.fromkeys([*cfg.DATASETS.TRAIN, *cfg.DATASETS.TEST])
    if not names:
        raise UserError("The config names no data sets: set DATASETS.TRAIN, or name a source.")
    own = {name: paths for name, *paths in named_sources(cfg)}
    found = [_given(name, *own[name]) if name in own else _find(name) for name in names]
    return [replace(each, is_for_training=each.role in cfg.DATASETS.TRAIN) for each in found]


def _given(name: str, path: str, image_root: str = "") -> NamedSource:
    return NamedSource(name, Path(path), Path(image_root) if image_root else None)


def _find(name: str) -> NamedSource:
    """Find the files of a data set that was registered elsewhere, or comes with the host."""
    metadata = MetadataCatalog.get(name)
    if not Path(metadata.get("json_file") or "").is_file():
        DatasetCatalog.get(name)  # its loader may make the files
    json_file, image_root = metadata.get("json_file"), metadata.get("image_root")
    if json_file is None:
        raise UserError(f"The data set {name!r} names no json file: check it by its own path.")
    return NamedSource(name, Path(json_file), Path(image_root) if image_root else None)
