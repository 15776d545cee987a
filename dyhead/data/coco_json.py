"""Registers labelled data sets by config and loads them through the checks, as COCO jsons."""

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from dyhead.d2.config import CfgNode
from dyhead.d2.data import DatasetCatalog, MetadataCatalog
from dyhead.d2.data.datasets import load_coco_json
from dyhead.data.checks import CheckReport, check_coco, kinds, refuse_unusable
from dyhead.data.checks.coco import has_objects
from dyhead.data.checks.identifiers import ORIGINAL_IDS
from dyhead.data.checks.progress import log_progress
from dyhead.data.checks.values import Id, id_order, read_id
from dyhead.data.leaks import IMAGE_FILES
from dyhead.data.original_ids import original_category_ids
from dyhead.data.sources import Division, Source, read_categories, read_source
from dyhead.data.sources.coco import read_coco
from dyhead.data.sources.json_file import is_plain_utf8
from dyhead.data.sources.parts import MARK, split_path
from dyhead.errors import UserError
from dyhead.safe_io.json_text import write_json

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class SourceFiles:
    """The paths of a data set, and the folder for a copy as COCO json where it needs one.

    Attributes:
        path: as `read_source` takes it.
        image_root: None for the one that the data set names.
        repaired_folder: for the copy.
        division: by which a data set without parts of its own is divided, if `path` names a part.
        allow_outside: DATASETS.ALLOW_OUTSIDE.
    """

    path: Path
    image_root: Path | None
    repaired_folder: Path
    division: Division = Division()
    allow_outside: bool = False

    def read(self) -> Source:
        """Read the data set; see `read_source` for errors."""
        return read_source(self.path, self.image_root, self.division)


_FORMS = {
    "COCO_JSON": "[name, json, image folder], for instance [[my_train, data/train.json,"
    " data/images]]",
    "SOURCES": "[name, path] or [name, path, image folder], for instance [[my_train,"
    " data/data.yaml#train]]",
}
_registered: dict[str, SourceFiles] = {}  # by us
_reported: set[str] = set()


def dataset_root() -> Path:
    """Return the folder of data sets: DETECTRON2_DATASETS, or ./datasets as in Detectron2."""
    return Path(os.path.expanduser(os.environ.get("DETECTRON2_DATASETS", "datasets")))


def register_sources(cfg: CfgNode, repaired_folder: Path) -> None:
    """Register every data set of DATASETS.SOURCES and DATASETS.COCO_JSON.

    Each is read and checked when it is first loaded.

    Raises:
        UserError: see `named_sources`; a name is taken, or DATASETS.VAL_RATIO is no share.
    """
    division = Division(cfg.DATASETS.VAL_RATIO, cfg.DATASETS.SPLIT_SEED)
    for name, path, *image_root in named_sources(cfg):
        root = Path(image_root[0]) if image_root else None
        allow_outside = cfg.DATASETS.ALLOW_OUTSIDE
        files = SourceFiles(Path(path), root, repaired_folder, division, allow_outside)
        register_loader(name, files, partial(load_checked_coco, name, files))


def named_sources(cfg: CfgNode) -> list[list[str]]:
    """Return [name, path] or [name, path, image folder] of each data set that the config names.

    A name in DATASETS.SOURCES takes the place of the same one in DATASETS.COCO_JSON.

    Raises:
        UserError: see `resolve_entries`.
    """
    jsons = resolve_entries(cfg.DATASETS.COCO_JSON)
    sources = resolve_entries(cfg.DATASETS.SOURCES, "SOURCES")
    return list({entry[0]: entry for entry in [*jsons, *sources]}.values())


def resolve_entries(entries: Sequence[Sequence[str]], key: str = "COCO_JSON") -> list[list[str]]:
    """Return the entries of DATASETS.COCO_JSON or DATASETS.SOURCES, with absolute paths.

    Paths may begin with ~ and hold $VARIABLES. Relative ones start at the working folder, or at
    DETECTRON2_DATASETS where nothing of that name is there.

    Raises:
        UserError: an entry is not made of strings, of the right number, or a name is given twice.
    """
    resolved: dict[str, list[str]] = {}
    for entry in entries:
        if (
            not isinstance(entry, (list, tuple))
            or len(entry) not in ((3,) if key == "COCO_JSON" else (2, 3))
            or not all(isinstance(part, str) and part for part in entry)
        ):
            raise UserError(
                f"DATASETS.{key} has the entry {entry!r}: give each data set as {_FORMS[key]}."
            )
        name, *paths = entry
        files = [name, *(_resolve(path) for path in paths)]
        if resolved.setdefault(name, files) != files:
            raise UserError(f"DATASETS.{key} gives the name {name!r} to two data sets: rename one.")
    return list(resolved.values())


def register_loader(
    name: str,
    files: SourceFiles,
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
            f"The data set name {name!r} in DATASETS.SOURCES or DATASETS.COCO_JSON is taken: choose"
            " another one."
        )
    _registered[name] = files
    DatasetCatalog.register(name, loader)
    metadata = MetadataCatalog.get(name)
    metadata.set(json_file=str(files.path), evaluator_type="coco")
    if files.image_root is not None:
        metadata.set(image_root=str(files.image_root))
    if classes is not None:
        metadata.set(
            thing_classes=list(classes.values()),
            thing_dataset_id_to_contiguous_id={each: i for i, each in enumerate(classes)},
        )


def class_names(name: str) -> list[str]:
    """List the class names of a registered data set, in the order of the model's class indices.

    They come from the metadata; for a data set that the config names, from its files. Of its images
    none is opened.

    Raises:
        UserError: the file can't be used, or the data set doesn't tell its classes.
    """
    metadata = MetadataCatalog.get(name)
    if metadata.get("thing_classes") is None:
        if name in _registered:
            metadata.set(thing_classes=[category["name"] for category in _categories(name)])
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
        if name in _registered and split_path(_registered[name].path)[0].exists():
            return [_as_written(category["id"]) for category in _categories(name)]
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


def _categories(name: str) -> list[dict]:
    """Read the categories of a data set that the config names, in the order of their ids."""
    files = _registered[name]
    return _in_order(read_categories(files.path, files.image_root))


def load_checked_coco(name: str, files: SourceFiles) -> list[dict]:
    """Check a data set, report what was found and load the usable rest.

    Where it is no COCO json, or needs repair, the host reads and evaluates a copy that is one, so
    that training and evaluation see the same boxes.

    Returns:
        Detectron2's dataset dicts.

    Raises:
        UserError: see `dyhead.data.checks` and `read_source`.
    """
    source = files.read()
    checked, report = check_coco(
        source.content,
        source.path,
        source.image_root,
        log_progress(name),
        files.allow_outside,
        source.report,
    )
    refuse_unusable(report)
    used = source.path
    lack = lack_of_objects(checked["annotations"])
    if lack:  # of a json without annotations the hosts write the results, and score nothing
        del checked["annotations"]
        if _is_new(f"{used}: {lack}"):
            logger.warning("%s has %s: there is nothing to learn or score.", used, lack)
    needs_copy = report.repaired or not source.is_verbatim or not is_plain_utf8(source.path)
    if needs_copy or lack:
        used = _write_repaired(name, checked, files.repaired_folder)
    _report_once(name, source, report, used)
    _replace_metadata(name, "json_file", str(used))
    _replace_metadata(name, "image_root", str(source.image_root))
    # those that a label file stands for, but could not be read in
    lost = report.count(kinds.DAMAGED_LABEL_FILE) + report.count(kinds.LABEL_WITHOUT_IMAGE)
    _replace_metadata(name, "num_named_images", len(source.content["images"]) + lost)
    _replace_metadata(name, "lack_of_objects", lack)
    original_ids = checked.get(ORIGINAL_IDS, {})
    _replace_metadata(name, "lost_images", report.lost_images)
    _replace_metadata(name, "original_image_ids", original_ids.get("images", {}))
    _replace_metadata(name, "original_category_ids", original_ids.get("categories", {}))
    dataset_dicts = load_coco_json(str(used), str(source.image_root), name)
    _replace_metadata(name, IMAGE_FILES, [image["file_name"] for image in dataset_dicts])
    for annotation in (a for image in dataset_dicts for a in image["annotations"]):
        # Detectron2 would cut the fractions off boxes of integers at each resize
        annotation["bbox"] = [float(value) for value in annotation["bbox"]]
    return dataset_dicts


def lack_of_objects(annotations: Sequence[Mapping[str, Any]]) -> str:
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


def _report_once(name: str, source: Source, report: CheckReport, used: Path) -> None:
    if not _is_new(f"{name}: {report}"):
        return
    if not source.is_verbatim:
        logger.info("%s was read as %s; as COCO json it is %s", name, source.kind, used)
    copy = f"\n  Training and evaluation use the repaired copy {used}" if report.repaired else ""
    if report.findings:
        level = logging.WARNING if report.has_faults else logging.INFO
        logger.log(level, "%s%s", report, copy)
    elif report.completed and source.is_verbatim:
        logger.info(
            "%s lacks keys that COCO's evaluation needs (image sizes, 'area', 'iscrowd' or 'info'),"
            " or has them in other forms; they were filled in in the copy %s",
            report.source,
            used,
        )


def _resolve(path: str) -> str:
    given, part = split_path(Path(os.path.expanduser(os.path.expandvars(path))))
    under_root = dataset_root() / given
    found = under_root if not given.exists() and under_root.exists() else given
    return f"{found.absolute()}{MARK}{part}" if part else str(found.absolute())


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
