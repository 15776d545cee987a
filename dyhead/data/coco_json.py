"""Registers any COCO json by config and loads it through the checks."""

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from dyhead.d2.data import DatasetCatalog, MetadataCatalog
from dyhead.d2.data.datasets import load_coco_json
from dyhead.data.checks import CheckReport, check_coco
from dyhead.data.checks.coco import has_objects
from dyhead.data.checks.identifiers import ORIGINAL_IDS
from dyhead.data.checks.progress import log_progress
from dyhead.data.checks.values import Id, id_order, read_id
from dyhead.data.leaks import IMAGE_FILES
from dyhead.data.original_ids import original_category_ids
from dyhead.data.sources.coco import read_coco
from dyhead.data.sources.json_file import is_plain_utf8
from dyhead.errors import UserError
from dyhead.safe_io.json_text import write_json

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class CocoFiles:
    """The paths of a data set, and the folder for a repaired copy of its json if it needs one."""

    json_file: Path
    image_root: Path
    repaired_folder: Path
    allow_outside: bool = False  # DATASETS.ALLOW_OUTSIDE


_registered: dict[str, CocoFiles] = {}  # by us
_reported: set[str] = set()


def dataset_root() -> Path:
    """Return the folder of data sets: DETECTRON2_DATASETS, or ./datasets as in Detectron2."""
    return Path(os.path.expanduser(os.environ.get("DETECTRON2_DATASETS", "datasets")))


def register_coco_jsons(
    entries: Sequence[Sequence[str]], repaired_folder: Path, allow_outside: bool = False
) -> None:
    """Register each [name, json, image folder] of DATASETS.COCO_JSON.

    Each is read and checked when it is first loaded.

    Paths may begin with ~ and hold $VARIABLES. Relative ones start at the working folder, or at
    DETECTRON2_DATASETS where nothing of that name is there.

    Raises:
        UserError: an entry is not made of three strings, or its name is taken or given twice.
    """
    for name, json_file, image_root in resolve_entries(entries):
        files = CocoFiles(Path(json_file), Path(image_root), repaired_folder, allow_outside)
        register_loader(name, files, partial(load_checked_coco, name, files))


def resolve_entries(entries: Sequence[Sequence[str]]) -> list[list[str]]:
    """Return each [name, json, image folder] of DATASETS.COCO_JSON, with absolute paths.

    Raises:
        UserError: see `register_coco_jsons`.
    """
    resolved: dict[str, list[str]] = {}
    for entry in entries:
        if (
            not isinstance(entry, (list, tuple))
            or len(entry) != 3
            or not all(isinstance(part, str) and part for part in entry)
        ):
            raise UserError(
                f"DATASETS.COCO_JSON has the entry {entry!r}: give each data set as"
                " [name, json, image folder], for instance"
                " [[my_train, data/train.json, data/images]]."
            )
        name, json_file, image_root = entry
        files = [name, str(_resolve(json_file)), str(_resolve(image_root))]
        if resolved.setdefault(name, files) != files:
            raise UserError(
                f"DATASETS.COCO_JSON gives the name {name!r} to two data sets: rename one."
            )
    return list(resolved.values())


def register_loader(
    name: str,
    files: CocoFiles,
    loader: Callable[[], list[dict]],
    classes: Mapping[int, str] | None = None,
) -> None:
    """Put a COCO-format data set into the host's catalogs; doing so again changes nothing.

    A name that this function registered before for other files is registered anew.

    Args:
        name: for DATASETS.TRAIN and DATASETS.TEST.
        files: of the data set.
        loader: gives Detectron2's dicts.
        classes: names by category id where they are known without the files.

    Raises:
        UserError: the name belongs to a data set that was registered elsewhere.
    """
    if _registered.get(name) == files and name in DatasetCatalog:
        return
    if name in _registered:
        DatasetCatalog.pop(name, None)
        MetadataCatalog.pop(name, None)
    elif name in DatasetCatalog:
        raise UserError(
            f"The data set name {name!r} in DATASETS.COCO_JSON is taken: choose another one."
        )
    _registered[name] = files
    DatasetCatalog.register(name, loader)
    metadata = MetadataCatalog.get(name)
    metadata.set(
        json_file=str(files.json_file), image_root=str(files.image_root), evaluator_type="coco"
    )
    if classes is not None:
        metadata.set(
            thing_classes=list(classes.values()),
            thing_dataset_id_to_contiguous_id={each: i for i, each in enumerate(classes)},
        )


def class_names(name: str) -> list[str]:
    """List the class names of a registered data set, in the order of the model's class indices.

    They come from the metadata; for a data set of DATASETS.COCO_JSON from the file's categories.
    Images are not looked at.

    Raises:
        UserError: the file can't be used, or the data set doesn't tell its classes.
    """
    metadata = MetadataCatalog.get(name)
    if metadata.get("thing_classes") is None:
        if name in _registered:
            categories = read_coco(_registered[name].json_file)["categories"]
            metadata.set(thing_classes=[category["name"] for category in _in_order(categories)])
        else:
            DatasetCatalog.get(name)  # its loader may know
    names = metadata.get("thing_classes")
    if not names:
        raise UserError(
            f"The data set {name!r} names no classes: set MetadataCatalog.get({name!r})"
            ".thing_classes where it is registered."
        )
    return list(names)


def category_ids(name: str) -> list[Id]:
    """List the category ids of a registered data set, in the order of `class_names`.

    They come as they stand in the file. It is the metadata, or the json's categories, that tells
    them: its images need not be there, nor the json where the metadata tells. A data set that tells
    no ids has 0, 1, 2, ...

    Raises:
        UserError: the file can't be used.
    """
    metadata = MetadataCatalog.get(name)
    if metadata.get("thing_dataset_id_to_contiguous_id") is None:
        json_file = metadata.get("json_file")
        if json_file and Path(json_file).is_file():
            categories = read_coco(Path(json_file))["categories"]
            return [_as_written(category["id"]) for category in _in_order(categories)]
        DatasetCatalog.get(name)  # its loader may know
    id_map = metadata.get("thing_dataset_id_to_contiguous_id")
    if id_map is None:
        return list(range(len(class_names(name))))
    original = original_category_ids(name)
    ordered = sorted(id_map, key=lambda category_id: id_map[category_id])
    return [original.get(category_id, category_id) for category_id in ordered]


def _in_order(categories: Sequence[dict]) -> list[dict]:
    """Sort a file's categories as their classes are numbered: by id, numbers before text."""
    return sorted(categories, key=lambda category: id_order(read_id(category["id"])))


def _as_written(identifier: Any) -> Id:
    """Return an id of a file as it stands there, except that 1.0 is 1."""
    return int(identifier) if isinstance(identifier, float) else identifier


def load_checked_coco(name: str, files: CocoFiles) -> list[dict]:
    """Check a COCO json, report what was found and load the usable rest.

    Where the file needs repair, the host reads and evaluates a repaired copy, so that training and
    evaluation see the same boxes.

    Returns:
        Detectron2's dataset dicts.

    Raises:
        UserError: see `dyhead.data.checks`.
    """
    content = read_coco(files.json_file)
    checked, report = check_coco(
        content, files.json_file, files.image_root, log_progress(name), files.allow_outside
    )
    used = files.json_file
    lack = _lack_of_objects(checked["annotations"])
    if lack:  # of a json without annotations the hosts write the results, and score nothing
        del checked["annotations"]
        if _is_new(f"{used}: {lack}"):
            logger.warning("%s has %s: there is nothing to learn or score.", used, lack)
    needs_copy = report.repaired or not is_plain_utf8(files.json_file)
    if needs_copy or (lack and "annotations" in content):
        used = _write_repaired(name, checked, files.repaired_folder)
    _report_once(report, used)
    _replace_metadata(name, "json_file", str(used))
    _replace_metadata(name, "num_named_images", len(content["images"]))
    _replace_metadata(name, "lack_of_objects", lack)
    original_ids = checked.get(ORIGINAL_IDS, {})
    _replace_metadata(name, "original_image_ids", original_ids.get("images", {}))
    _replace_metadata(name, "original_category_ids", original_ids.get("categories", {}))
    dataset_dicts = load_coco_json(str(used), str(files.image_root), name)
    _replace_metadata(name, IMAGE_FILES, [image["file_name"] for image in dataset_dicts])
    for annotation in (a for image in dataset_dicts for a in image["annotations"]):
        # Detectron2 would cut the fractions off boxes of integers at each resize
        annotation["bbox"] = [float(value) for value in annotation["bbox"]]
    return dataset_dicts


def _lack_of_objects(annotations: Sequence[Mapping[str, Any]]) -> str:
    """Say what a data set has in the place of objects; "" where it has some."""
    if has_objects(annotations):
        return ""
    crowds = f"crowds alone (its {len(annotations)} annotations are marked iscrowd or ignore)"
    return crowds if annotations else "no annotations"


def _is_new(text: str) -> bool:
    """Tell if a text is to be logged: once per process, for a set is loaded at each evaluation."""
    was_reported = text in _reported
    _reported.add(text)
    return not was_reported


def _report_once(report: CheckReport, used: Path) -> None:
    if not _is_new(str(report)):
        return
    copy = f"\n  Training and evaluation use the repaired copy {used}" if report.repaired else ""
    if report.findings:
        level = logging.WARNING if report.has_faults else logging.INFO
        logger.log(level, "%s%s", report, copy)
    elif report.completed:
        logger.info(
            "%s lacks keys that COCO's evaluation needs (image sizes, 'area', 'iscrowd' or 'info'),"
            " or has them in other forms; they were filled in in the copy %s",
            report.source,
            used,
        )


def _resolve(path: str) -> Path:
    given = Path(os.path.expanduser(os.path.expandvars(path)))
    under_root = dataset_root() / given
    found = under_root if not given.exists() and under_root.exists() else given
    return found.absolute()


def _write_repaired(name: str, coco: dict[str, Any], folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.json"
    write_json(coco, path)
    return path


def _replace_metadata(name: str, key: str, value: Any) -> None:
    """Set a metadata attribute that the catalog would refuse to change."""
    metadata = MetadataCatalog.get(name)
    if metadata.get(key) not in (None, value):
        delattr(metadata, key)
    setattr(metadata, key, value)
