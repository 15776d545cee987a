"""Reads what `dyhead view` is given: a run's test sets with its predictions, or labelled data."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dyhead.data.checks import check_coco
from dyhead.data.checks.identifiers import ORIGINAL_IDS
from dyhead.data.checks.values import Id
from dyhead.data.sources import Division, part_names, read_source
from dyhead.data.sources.parts import MARK
from dyhead.data_report.configured import configured_sources
from dyhead.data_report.run import progress_of
from dyhead.errors import UserError
from dyhead.evaluation.original_ids import RESULTS_NAME
from dyhead.evaluation.results_file import read_results
from dyhead.evaluation.run_folder import evaluation_folder, is_run, read_run_config
from dyhead.viewer.kinds import Found, Objects
from dyhead.viewer.picture_set import PictureEntry, PictureSet, classify_all

_ENTRY = ("file_name", "width", "height")


@dataclass(frozen=True)
class SetFiles:
    """The files of one data set that is to be shown.

    Attributes:
        name: of the data set.
        path: as `read_source` takes it.
        image_root: None for the one that the data set names.
        results: the file of predictions, where there is one.
        results_folder: its folder, as seen from the run's; with slashes.
        division: by which a data set without parts of its own is divided.
        may_leave: see `PictureSet`.
    """

    name: str
    path: Path
    image_root: Path | None = None
    results: Path | None = None
    results_folder: str = ""
    division: Division = Division()
    may_leave: bool = False


def find_sets(path: Path, may_leave: bool = False) -> list[SetFiles]:
    """Find the data sets of a run's folder, or of a file or folder of labelled data.

    Raises:
        UserError: there is no such thing, or a run names no test set.
    """
    if is_run(path):
        return list(_sets_of_run(path, may_leave))
    if not path.exists() and MARK not in str(path):
        raise UserError(f"{path} does not exist: name a run's folder, or labelled data.")
    parts = part_names(path)
    if len(parts) < 2:
        return [SetFiles(path.name, path, may_leave=may_leave)]
    named = [(f"{path.name}{MARK}{part}", Path(f"{path}{MARK}{part}")) for part in parts]
    return [SetFiles(name, part, may_leave=may_leave) for name, part in named]


def _sets_of_run(folder: Path, may_leave: bool) -> Iterator[SetFiles]:
    cfg = read_run_config(folder)
    tests = cfg.DATASETS.TEST
    if not tests:
        raise UserError(f"The config of {folder} names no DATASETS.TEST: name the data instead.")
    named = {source.role: source for source in configured_sources(cfg)}
    division = Division(cfg.DATASETS.VAL_RATIO, cfg.DATASETS.SPLIT_SEED)
    may_leave = may_leave or cfg.DATASETS.ALLOW_OUTSIDE
    for name in tests:
        results = evaluation_folder(cfg, name, folder) / RESULTS_NAME
        there = results if results.is_file() else None
        results_folder = results.parent.relative_to(folder).as_posix() if there else ""
        source = named[name]
        yield SetFiles(
            name, source.path, source.image_root, there, results_folder, division, may_leave
        )


def load_set(files: SetFiles) -> PictureSet:
    """Read a data set through the checks of a training, its predictions, and classify them.

    No file is written.

    Raises:
        UserError: a file can't be used, or the predictions do not fit to the data set.
    """
    source = read_source(files.path, files.image_root, files.division)
    with progress_of(files.name) as progress:
        content, report = check_coco(
            source.content, source.path, source.image_root, progress, files.may_leave
        )
    categories = sorted(content["categories"], key=lambda each: each["id"])
    places = {image["id"]: place for place, image in enumerate(content["images"])}
    classes = {category["id"]: index for index, category in enumerate(categories)}
    truth_pictures, truth = _truth(content["annotations"], places, classes)
    originals = content.get(ORIGINAL_IDS, {})
    found_pictures, found = _found(files.results, originals, places, classes, report.lost_images)
    return PictureSet(
        name=files.name,
        image_root=source.image_root,
        may_leave=files.may_leave,
        class_names=[str(category["name"]) for category in categories],
        pictures=[PictureEntry(*map(image.get, _ENTRY)) for image in content["images"]],
        truth_pictures=truth_pictures,
        truth=truth,
        found_pictures=found_pictures,
        found=found,
        errors=classify_all(len(places), truth_pictures, truth, found_pictures, found),
        results_folder=files.results_folder,
        left_out=len(source.content["images"]) - len(places),
    )


def _found(
    results: Path | None,
    originals: Mapping[str, Mapping],
    places: Mapping[Any, int],
    classes: Mapping[Any, int],
    lost_images: Mapping[Id, str],
) -> tuple[np.ndarray, Found]:
    """Return the picture of each detection, and the detections: by picture, then falling score."""
    if results is None:
        return np.zeros(0, np.int64), Found(np.zeros((0, 4)), np.zeros(0, np.int64), np.zeros(0))
    picture_of = _as_written(originals.get("images", {}), places)
    class_of = _as_written(originals.get("categories", {}), classes)
    rows = [
        (each["image_id"], each["category_id"], *each["bbox"], each["score"])
        for each in read_results(results, picture_of, class_of, lost_images)
    ]
    table = np.array(rows, dtype=np.float64).reshape(-1, 7)
    table = table[np.lexsort((-table[:, 6], table[:, 0]))]
    boxes = np.concatenate([table[:, 2:4], table[:, 2:4] + table[:, 4:6]], axis=1)
    found = Found(boxes, table[:, 1].astype(np.int64), table[:, 6])
    return table[:, 0].astype(np.int64), found


def _as_written(originals: Mapping, by_id: Mapping[Any, int]) -> dict[Any, int]:
    """Return the places by the ids that the data set's file has, which predictions have too."""
    return {originals.get(identifier, identifier): place for identifier, place in by_id.items()}


def _truth(
    annotations: list[dict], places: Mapping[Any, int], classes: Mapping[Any, int]
) -> tuple[np.ndarray, Objects]:
    """Return the picture of each object, and the objects, sorted by picture."""
    pictures = np.array([places[each["image_id"]] for each in annotations], dtype=np.int64)
    order = np.argsort(pictures, kind="stable")
    boxes = np.array([each["bbox"] for each in annotations], dtype=np.float64).reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    labels = np.array([classes[each["category_id"]] for each in annotations], dtype=np.int64)
    crowds = np.array([bool(each.get("iscrowd")) for each in annotations], dtype=bool)
    return pictures[order], Objects(boxes[order], labels[order], crowds[order])
