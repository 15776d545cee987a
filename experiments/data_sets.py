"""The labelled data that experiments train and evaluate on."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from dyhead.data.checks import check_coco, refuse_unusable
from dyhead.data.sources import read_source
from dyhead.errors import UserError
from dyhead.safe_io.json_text import strict_json, write_json

PARTS = ("train", "val")


class DataSet(NamedTuple):
    """A data set with a part to train on and one to evaluate on, as DATASETS.SOURCES takes them.

    Attributes:
        name: its folder's.
        train: path of the part to train on.
        val: path of the part to evaluate on.
        annotations: see `annotations_digest`; "" before anybody has read them.
        num_classes: of the annotations; 0 before.
    """

    name: str
    train: str
    val: str
    annotations: str = ""
    num_classes: int = 0

    @property
    def options(self) -> tuple[str, str]:
        """Return the override that has a config of experiments/configs read it."""
        return "DATASETS.SOURCES", str([["own_train", self.train], ["own_val", self.val]])


def find_data_set(folder: Path) -> DataSet:
    """Find the parts of a data set: train.json and val.json in its folder, or "#train" and "#val".

    Args:
        folder: of data in any format that the project reads (docs/data.md).

    Raises:
        UserError: it does not exist.
    """
    folder = folder.expanduser().resolve()
    if not folder.exists():
        raise UserError(f"--data {folder} does not exist: name the folder of a labelled data set.")
    parts = [folder / "train.json", folder / "val.json"]
    if all(part.is_file() for part in parts):
        return DataSet(folder.name, train=str(parts[0]), val=str(parts[1]))
    return DataSet(folder.stem, f"{folder}#train", f"{folder}#val")


def find_data_sets(folders: Sequence[Path]) -> list[DataSet]:
    """Find the parts of several data sets, which runs and results know by their names.

    Raises:
        UserError: one does not exist, or two have the same name.
    """
    found: dict[str, Path] = {}
    data_sets = []
    for folder in folders:
        data_set = find_data_set(folder)
        if data_set.name in found:
            raise UserError(
                f"--data {found[data_set.name]} and --data {folder} are both known by the name"
                f" {data_set.name}: rename one, or leave it out."
            )
        found[data_set.name] = folder
        data_sets.append(data_set)
    return data_sets


def prepare_data(data: DataSet, folder: Path) -> Path:
    """Write train.json and val.json as the project's own checks leave them; return their folder.

    Boxes without area are left out and others end at the picture's border, for all peers alike.

    Raises:
        UserError: the data cannot be used, or its parts have other classes.
    """
    target = folder / data.name
    target.mkdir(parents=True, exist_ok=True)
    categories = {}
    for part in PARTS:
        source = read_source(Path(getattr(data, part)))
        content, report = check_coco(source.content, source.path, source.image_root)
        refuse_unusable(report)
        images = [
            {**image, "file_name": str(source.image_root / image["file_name"])}
            for image in content["images"]
        ]
        categories[part] = {each["id"]: each["name"] for each in content["categories"]}
        write_json({**content, "images": images}, target / f"{part}.json")
    if categories["train"] != categories["val"]:  # detectors count classes by the order of ids
        raise UserError(
            f"{data.train} has the categories {categories['train']}, but {data.val} has"
            f" {categories['val']}: give both the same ids and names."
        )
    return target


def annotations_digest(data: Path) -> str:
    """Hash what `prepare_data` wrote, without the folders of the pictures: others elsewhere.

    It tells data sets of one name apart, and those whose annotations were corrected.
    """
    digest = hashlib.sha256()
    for part in PARTS:
        content = json.loads((data / f"{part}.json").read_text(encoding="utf-8"))
        for image in content["images"]:
            image["file_name"] = Path(image["file_name"]).name
        digest.update(strict_json(content, sort_keys=True).encode())
    return digest.hexdigest()[:10]


def changed_annotations(data: DataSet, folder: Path) -> str:
    """Say that annotations are no longer those that a data set has the digest of, or "".

    Args:
        data: of `with_annotations`.
        folder: takes what `prepare_data` writes.
    """
    try:
        if annotations_digest(prepare_data(data, folder)) == data.annotations:
            return ""
    except UserError as error:
        return str(error)
    return (
        f"the annotations of {data.train} or {data.val} were changed since this call began: call it"
        " again to train on what they are now"
    )


def with_annotations(data_sets: Sequence[DataSet], folder: Path) -> list[DataSet]:
    """Read the annotations of data sets, and return these with what a `DataSet` tells of them.

    Args:
        data_sets: of `find_data_sets`.
        folder: takes what `prepare_data` writes.

    Raises:
        UserError: see `prepare_data`.
    """
    return [_with_annotations(each, prepare_data(each, folder)) for each in data_sets]


def _with_annotations(data: DataSet, prepared: Path) -> DataSet:
    categories = json.loads((prepared / "val.json").read_text(encoding="utf-8"))["categories"]
    return data._replace(annotations=annotations_digest(prepared), num_classes=len(categories))
