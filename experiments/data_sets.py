"""The labelled data that experiments train and evaluate on."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from dyhead.errors import UserError


class DataSet(NamedTuple):
    """A data set with a part to train on and one to evaluate on, as DATASETS.SOURCES takes them."""

    name: str
    train: str
    val: str

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
        return DataSet(folder.name, *map(str, parts))
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
