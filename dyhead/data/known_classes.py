"""Class names and ids of data sets, and their comparison with those of a checkpoint."""

import logging
from collections.abc import Sequence
from typing import NamedTuple

from dyhead.d2.config import CfgNode
from dyhead.data.coco_json import category_ids, class_names
from dyhead.data.num_classes import difference
from dyhead.data.register import register_datasets
from dyhead.errors import UserError, user_errors

MATCHES = ("name", "index")
_WHERE = ("in the checkpoint", "in the data set")

logger = logging.getLogger(__name__)


class Classes(NamedTuple):
    """Names and ids, in the order of a classifier; either is empty where it is not known."""

    names: tuple[str, ...] = ()
    category_ids: tuple[int | str, ...] = ()


def classes_of(dataset: str) -> Classes:
    """Return the classes of a registered data set, with the ids of its file.

    Raises:
        UserError: its json cannot be used, or it does not tell its classes.
    """
    with user_errors():
        return Classes(tuple(class_names(dataset)), tuple(category_ids(dataset)))


def known_classes(cfg: CfgNode) -> Classes:
    """Return the classes of the config's data sets, as far as this machine has their files.

    Those of built-in data sets are known without their files.
    """
    names = [*cfg.DATASETS.TEST, *cfg.DATASETS.TRAIN][:1]
    if not names:
        return Classes()
    try:
        register_datasets(cfg)
        return classes_of(names[0])
    except UserError as error:
        logger.info("The classes of %r are not known here: %s", names[0], error)
        return Classes()


def match_classes(
    trained: Sequence[str], wanted: Sequence[str], *, source: str, dataset: str, match: str
) -> list[int] | None:
    """Map the class indices of a checkpoint to those of a data set, by name.

    Args:
        trained: class names of the checkpoint.
        wanted: class names of the data set.
        source: the checkpoint, for errors.
        dataset: its name, for errors.
        match: TEST.MATCH_CLASSES, "name" or "index".

    Returns:
        for each class of the checkpoint its index in the data set; None where all are in place.

    Raises:
        UserError: they are not the same classes.
    """
    if match not in MATCHES:
        raise UserError(f"TEST.MATCH_CLASSES is {match!r}: use 'name' or 'index'.")
    trained, wanted = list(trained), list(wanted)
    is_renamed = match == "index" and len(trained) == len(wanted)
    if trained == wanted or is_renamed:
        return None
    if len(set(trained)) == len(trained) and sorted(trained) == sorted(wanted):
        return [wanted.index(name) for name in trained]
    raise UserError(
        f"{source} was trained for {len(trained)} classes, and they are not the {len(wanted)} of"
        f" the data set {dataset!r} ({difference(trained, wanted, _WHERE)}): name the data set that"
        " it was trained for in DATASETS.TEST, or set TEST.MATCH_CLASSES index if its classes were"
        " only renamed."
    )
