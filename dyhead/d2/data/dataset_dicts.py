"""Loading the dataset dicts of one or several datasets."""

import itertools
import logging
from collections import Counter
from collections.abc import Sequence
from typing import Any

from tabulate import tabulate
from termcolor import colored
from torch.utils.data import ConcatDataset, Dataset

from ..utils.logger import log_first_n
from .catalog import DatasetCatalog, MetadataCatalog
from .detection_utils import check_metadata_consistency

logger = logging.getLogger("detectron2.data.build")

_HISTOGRAM_PAIRS = 3
_LONGEST_NAME = 13


def filter_images_with_only_crowd_annotations(
    dataset_dicts: list[dict[str, Any]],
) -> list[dict[str, Any]]:
    """Leave out images without annotations, or with crowds only."""
    kept = [
        image
        for image in dataset_dicts
        if any(not annotation.get("iscrowd", 0) for annotation in image["annotations"])
    ]
    logger.info(
        f"{len(kept)} of {len(dataset_dicts)} images have objects; the others, without annotations"
        " or with crowds only, are left out."
    )
    return kept


def filter_images_with_few_keypoints(
    dataset_dicts: list[dict[str, Any]], min_keypoints_per_image: int
) -> list[dict[str, Any]]:
    """Leave out images with fewer visible keypoints, given as x, y, visibility, x, y, ..."""

    def count_visible(image: dict[str, Any]) -> int:
        visibilities = (a["keypoints"][2::3] for a in image["annotations"] if "keypoints" in a)
        return sum(value > 0 for value in itertools.chain.from_iterable(visibilities))

    kept = [image for image in dataset_dicts if count_visible(image) >= min_keypoints_per_image]
    logger.info(f"{len(kept)} of {len(dataset_dicts)} images have enough visible keypoints.")
    return kept


def print_instances_class_histogram(
    dataset_dicts: list[dict[str, Any]], class_names: Sequence[str]
) -> None:
    """Log how many instances, crowds aside, each class has.

    Raises:
        AssertionError: a category_id is outside the classes.
    """
    counts = Counter(
        annotation["category_id"]
        for image in dataset_dicts
        for annotation in image["annotations"]
        if not annotation.get("iscrowd", 0)
    )
    invalid = [category for category in counts if not 0 <= category < len(class_names)]
    assert not invalid, (
        f"Category ids {sorted(invalid)} are outside of the {len(class_names)} classes of the"
        " dataset."
    )
    cells = [(_short(name), counts[i]) for i, name in enumerate(class_names)]
    if len(cells) > 1:
        cells.append(("total", counts.total()))
    pairs = min(_HISTOGRAM_PAIRS, len(class_names))
    rows = [
        list(itertools.chain.from_iterable(cells[begin : begin + pairs]))
        for begin in range(0, len(cells), pairs)
    ]
    table = tabulate(
        rows,
        headers=["category", "#instances"] * pairs,
        tablefmt="pipe",
        numalign="left",
        stralign="center",
    )
    message = f"Instances of each of the {len(class_names)} categories:\n"
    message += colored(table, "cyan")
    log_first_n(logging.INFO, message, key="message", name="detectron2.data.build")


def _short(name: str) -> str:
    return name if len(name) <= _LONGEST_NAME else name[: _LONGEST_NAME - 2] + ".."


def get_detection_dataset_dicts(
    names: str | Sequence[str],
    filter_empty: bool = True,
    min_keypoints: int = 0,
    proposal_files: Sequence[str] | None = None,
    check_consistency: bool = True,
) -> Any:
    """Load datasets and join them.

    Args:
        names: registered names.
        filter_empty: leave out images without annotations other than crowds.
        min_keypoints: must be 0, there are no key points here.
        proposal_files: must be None, there are no precomputed proposals here.
        check_consistency: check that all have the same classes, and log how many instances each
            class has.

    Returns:
        A list of dataset dicts; or a torch Dataset where that is what is registered.

    Raises:
        KeyError: a name is not registered.
        ValueError: the datasets' classes differ.
    """
    if min_keypoints or proposal_files is not None:
        raise ValueError(
            "min_keypoints and proposal_files need key points and precomputed proposals, which the"
            " embedded host does not have: leave them at their defaults, or install Detectron2."
        )
    names = [names] if isinstance(names, str) else list(names)
    assert names, "No dataset is named: set DATASETS.TRAIN or DATASETS.TEST."
    loaded = [DatasetCatalog.get(name) for name in names]
    if isinstance(loaded[0], Dataset):
        return loaded[0] if len(loaded) == 1 else ConcatDataset(loaded)

    for name, dicts in zip(names, loaded, strict=True):
        assert len(dicts), f"Dataset '{name}' is empty."
    dataset_dicts = list(itertools.chain.from_iterable(loaded))
    if "annotations" in dataset_dicts[0]:
        if filter_empty:
            dataset_dicts = filter_images_with_only_crowd_annotations(dataset_dicts)
        if check_consistency:
            _check_classes(dataset_dicts, names)
    assert dataset_dicts, f"No image with usable annotations in {', '.join(names)}."
    return dataset_dicts


def _check_classes(dataset_dicts: list[dict[str, Any]], names: Sequence[str]) -> None:
    # A dataset without class names is legitimate: then there is nothing to compare.
    if any(MetadataCatalog.get(name).get("thing_classes") is None for name in names):
        return
    check_metadata_consistency("thing_classes", names)
    class_names = MetadataCatalog.get(names[0]).thing_classes
    print_instances_class_histogram(dataset_dicts, class_names)
