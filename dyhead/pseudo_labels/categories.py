"""Categories as in the data set that a detector was trained for, and a score threshold for each."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dyhead.d2.config import CfgNode
from dyhead.d2.data import DatasetCatalog, MetadataCatalog
from dyhead.data.checks import read_coco
from dyhead.data.coco_json import class_names
from dyhead.errors import UserError


@dataclass(frozen=True)
class LabelledCategory:
    """One class of the detector."""

    category_id: int | str  # as in the json of the data set
    name: str
    threshold: float  # lowest score of a label


def labelled_categories(
    cfg: CfgNode, threshold: float, class_thresholds: Sequence[str]
) -> list[LabelledCategory]:
    """The classes of the detector that `cfg` describes, in the order of its class indices.

    Args:
        cfg: its data sets are registered. The first of DATASETS.TEST, or else of DATASETS.TRAIN,
            tells names and ids.
        threshold: of every class that has none of its own.
        class_thresholds: "NAME=SCORE" each; a later one replaces an earlier one.

    Raises:
        UserError: no data set is named or it cannot be read, a class is unknown, or a threshold is
            not a number from 0 to 1.
    """
    if not 0 <= threshold <= 1:
        raise UserError(f"--threshold {threshold:g}: give a score from 0 to 1.")
    dataset = [*cfg.DATASETS.TEST, *cfg.DATASETS.TRAIN][:1]
    if not dataset:
        raise UserError(
            "DATASETS.TEST and DATASETS.TRAIN are empty: name the data set that the detector was"
            " trained on, for it tells the names and ids of the classes."
        )
    names = class_names(dataset[0])
    own = dict(_parse_class_threshold(entry, names) for entry in class_thresholds)
    return [
        LabelledCategory(category_id, name, own.get(name, threshold))
        for category_id, name in zip(_category_ids(dataset[0], names), names, strict=True)
    ]


def _parse_class_threshold(entry: str, names: Sequence[str]) -> tuple[str, float]:
    name, _, score = entry.rpartition("=")
    if name not in names:
        raise UserError(
            f"--class-threshold {entry}: write NAME=SCORE with one of these names:"
            f" {', '.join(names)}."
        )
    try:
        threshold = float(score)
    except ValueError:
        threshold = -1.0
    if not 0 <= threshold <= 1:
        raise UserError(f"--class-threshold {entry}: give a score from 0 to 1 after the '='.")
    return name, threshold


def _category_ids(dataset: str, names: Sequence[str]) -> list[int | str]:
    """The ids in the data set's json. Its images need not be there; nor its json, if it told."""
    metadata = MetadataCatalog.get(dataset)
    if metadata.get("thing_dataset_id_to_contiguous_id") is None:
        json_file = metadata.get("json_file")
        if json_file and Path(json_file).is_file():
            return sorted(category["id"] for category in read_coco(Path(json_file))["categories"])
        DatasetCatalog.get(dataset)  # its loader may know
    id_map = metadata.get("thing_dataset_id_to_contiguous_id")
    if id_map is None:
        return list(range(len(names)))
    return [category_id for category_id, _ in sorted(id_map.items(), key=lambda item: item[1])]
