"""Categories as in the data set that a detector was trained for, and a score threshold for each."""

from collections.abc import Sequence
from dataclasses import dataclass

from dyhead.d2.config import CfgNode
from dyhead.data.coco_json import category_ids, class_names
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
    """List the classes of the detector that `cfg` describes, in the order of its class indices.

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
    dataset = class_source(cfg)
    names = class_names(dataset)
    own = dict(_parse_class_threshold(entry, names) for entry in class_thresholds)
    return [
        LabelledCategory(category_id, name, own.get(name, threshold))
        for category_id, name in zip(category_ids(dataset), names, strict=True)
    ]


def class_source(cfg: CfgNode) -> str:
    """Name the data set of the classes: the first of DATASETS.TEST, or else of TRAIN.

    Raises:
        UserError: there is none.
    """
    for dataset in (*cfg.DATASETS.TEST, *cfg.DATASETS.TRAIN):
        return dataset
    raise UserError(
        "DATASETS.TEST and DATASETS.TRAIN are empty: name the data set that the detector was"
        " trained on, for it tells the names and ids of the classes."
    )


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
