"""Registers any COCO json by config and loads it through the checks."""

import hashlib
import json
import logging
import os
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from dyhead.d2.data import DatasetCatalog, MetadataCatalog
from dyhead.d2.data.datasets import load_coco_json
from dyhead.d2.safe_io.save import write_text_atomically
from dyhead.data.checks import check_coco, read_coco
from dyhead.errors import UserError

logger = logging.getLogger(__name__)

_registered: dict[str, tuple[Path, Path]] = {}  # by us: name -> json file, image folder
_reported: set[str] = set()  # each report is logged once per process, not at each evaluation


def dataset_root() -> Path:
    """The folder of data sets: DETECTRON2_DATASETS, or ./datasets as in Detectron2."""
    return Path(os.path.expanduser(os.environ.get("DETECTRON2_DATASETS", "datasets")))


def register_coco_jsons(entries: Sequence[Sequence[str]]) -> None:
    """Register each [name, json, image folder] of DATASETS.COCO_JSON.

    Paths may begin with ~ and hold $VARIABLES. Relative ones start at the working folder, or at
    DETECTRON2_DATASETS where nothing of that name is there.

    Raises:
        UserError: an entry is not made of three strings, or its name is taken.
    """
    for entry in entries:
        if (
            isinstance(entry, str)
            or len(entry) != 3
            or not all(isinstance(part, str) and part for part in entry)
        ):
            raise UserError(
                f"DATASETS.COCO_JSON has the entry {entry!r}: give each data set as"
                " [name, json, image folder], for instance"
                " [[my_train, data/train.json, data/images]]."
            )
        name, json_file, image_root = entry
        register_coco_json(name, _resolve(json_file), _resolve(image_root))


def register_coco_json(name: str, json_file: Path, image_root: Path) -> None:
    """Register one COCO json; it is read and checked when it is first loaded."""
    register_loader(name, _CheckedLoader(name, json_file, image_root), json_file, image_root)


def register_loader(
    name: str,
    loader: Callable[[], list[dict]],
    json_file: Path,
    image_root: Path,
    class_names: list[str] | None = None,
) -> None:
    """Put a COCO-format data set into the host's catalogs; doing so again changes nothing.

    A name that this function registered before for other files is registered anew.

    Raises:
        UserError: the name belongs to a data set that was registered elsewhere.
    """
    if _registered.get(name) == (json_file, image_root) and name in DatasetCatalog:
        return
    if name in _registered:
        DatasetCatalog.pop(name, None)
        MetadataCatalog.pop(name, None)
    elif name in DatasetCatalog:
        raise UserError(
            f"The data set name {name!r} in DATASETS.COCO_JSON is taken: choose another one."
        )
    _registered[name] = (json_file, image_root)
    DatasetCatalog.register(name, loader)
    metadata = MetadataCatalog.get(name)
    metadata.set(json_file=str(json_file), image_root=str(image_root), evaluator_type="coco")
    if class_names is not None:
        metadata.set(thing_classes=class_names)


def class_names(name: str) -> list[str]:
    """The class names of a registered data set, in the order of the model's class indices.

    They come from the metadata; for a data set of DATASETS.COCO_JSON from the file's categories.
    Images are not looked at.

    Raises:
        UserError: the file can't be used, or the data set doesn't tell its classes.
    """
    metadata = MetadataCatalog.get(name)
    if metadata.get("thing_classes") is None:
        if name in _registered:
            categories = read_coco(_registered[name][0])["categories"]
            ordered = sorted(categories, key=lambda category: category["id"])
            metadata.set(thing_classes=[category["name"] for category in ordered])
        else:
            DatasetCatalog.get(name)  # its loader may know
    names = metadata.get("thing_classes")
    if not names:
        raise UserError(
            f"The data set {name!r} names no classes: set MetadataCatalog.get({name!r})"
            ".thing_classes where it is registered."
        )
    return list(names)


def load_checked_coco(name: str, json_file: Path, image_root: Path) -> list[dict]:
    """Check a COCO json, report what was found and load the usable rest.

    Where the file needs repair, the host reads and evaluates a repaired copy, so that training and
    evaluation see the same boxes.

    Returns:
        Detectron2's dataset dicts.

    Raises:
        UserError: see `dyhead.data.checks`.
    """
    checked, report = check_coco(read_coco(json_file), json_file, image_root)
    used = json_file
    if report.repaired:
        used = _write_repaired(name, checked)
    if report.findings and str(report) not in _reported:
        _reported.add(str(report))
        logger.warning("%s\n  Training and evaluation use the repaired copy %s", report, used)
    _replace_metadata(name, "json_file", str(used))
    return load_coco_json(str(used), str(image_root), name)


class _CheckedLoader:
    """What the catalog calls to load one data set."""

    def __init__(self, name: str, json_file: Path, image_root: Path) -> None:
        self.name, self.json_file, self.image_root = name, json_file, image_root

    def __call__(self) -> list[dict]:
        return load_checked_coco(self.name, self.json_file, self.image_root)


def _resolve(path: str) -> Path:
    given = Path(os.path.expanduser(os.path.expandvars(path)))
    under_root = dataset_root() / given
    return under_root if not given.exists() and under_root.exists() else given


def _write_repaired(name: str, coco: dict[str, Any]) -> Path:
    """Write a repaired copy whose name tells its content, so that several runs can share it."""
    text = json.dumps(coco)
    digest = hashlib.sha256(text.encode()).hexdigest()[:12]
    user = os.getuid() if hasattr(os, "getuid") else "any"
    folder = Path(tempfile.gettempdir()) / f"dyhead-{user}"
    folder.mkdir(mode=0o700, exist_ok=True)
    path = folder / f"{name}-{digest}.json"
    if not path.exists():
        write_text_atomically(text, path)
    return path


def _replace_metadata(name: str, key: str, value: Any) -> None:
    """Set an attribute that the catalog would not let change."""
    metadata = MetadataCatalog.get(name)
    if metadata.get(key) not in (None, value):
        delattr(metadata, key)
    setattr(metadata, key, value)
