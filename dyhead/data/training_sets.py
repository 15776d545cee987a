"""Loads the training data: one data set, or several in the shares that the config sets."""

import itertools
import logging
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from torch.utils.data import Sampler

from dyhead.d2.config import CfgNode
from dyhead.d2.data import MetadataCatalog, get_detection_dataset_dicts
from dyhead.d2.data.samplers import RepeatFactorTrainingSampler, TrainingSampler
from dyhead.data.num_classes import common_classes
from dyhead.data.samplers import RatioTrainingSampler
from dyhead.errors import UserError

MakeSampler = Callable[[int], Sampler[int]]

_kept: list[dict[str, Any]] = []  # what was loaded within `loading_once`, by names

logger = logging.getLogger(__name__)


class TrainingSets(NamedTuple):
    """The training images, and how they are drawn.

    Attributes:
        records: the dataset dicts of all sets together.
        make_sampler: makes the sampler, which DATASETS.TRAIN_RATIOS or else
            DATALOADER.SAMPLER_TRAIN chooses, of a seed. None stands for a sampler that only the
            host knows, and for a data set that has an order of its own.
        weights: (N,), how often each image is drawn, in proportion; None: all alike.
    """

    records: Any
    make_sampler: MakeSampler | None
    weights: np.ndarray | None = None


@contextmanager
def loading_once() -> Iterator[None]:
    """Load no training set twice within the context: to count its images, and to train on them."""
    _kept.append({})
    try:
        yield
    finally:
        _kept.pop()


def load_training_sets(cfg: CfgNode) -> TrainingSets:
    """Load all of DATASETS.TRAIN.

    Raises:
        UserError: the ratios cannot be used, the data sets' classes differ, or one of them has
            nothing to learn.
    """
    names = cfg.DATASETS.TRAIN
    if not cfg.DATASETS.TRAIN_RATIOS:
        dataset = _load(cfg, names)
        return _choose_sampler(cfg, dataset)
    ratios = _checked_ratios(cfg)
    common_classes(names)
    sets = [_load(cfg, name) for name in names]
    for name, loaded in zip(names, sets, strict=True):
        if not isinstance(loaded, list):
            raise UserError(
                f"The data set {name!r} is no list of dicts: leave DATASETS.TRAIN_RATIOS empty."
            )
    sizes = [len(loaded) for loaded in sets]
    _describe_shares(cfg, sizes, ratios)
    together = list(itertools.chain.from_iterable(sets))
    weights = np.repeat(np.divide(ratios, sizes), sizes)
    return TrainingSets(together, partial(RatioTrainingSampler, sizes, ratios), weights)


def count_training_images(cfg: CfgNode) -> int:
    """Count the images of DATASETS.TRAIN that are trained on.

    Raises:
        UserError: as `load_training_sets`, or a data set does not know its length.
    """
    names = cfg.DATASETS.TRAIN
    # with ratios apart, as for the training: only the sets that it can use are loaded together
    sets = [_load(cfg, name) for name in (names if cfg.DATASETS.TRAIN_RATIOS else [names])]
    if not all(hasattr(loaded, "__len__") for loaded in sets):
        raise UserError("SOLVER.EPOCHS needs data sets of a known length: set SOLVER.MAX_ITER.")
    return sum(len(loaded) for loaded in sets)


def describe_length(cfg: CfgNode, num_images: int) -> str:
    """Say how long a training is, such as "1300 steps of 4 images, about 25.4 passes ..."."""
    solver = cfg.SOLVER
    if solver.MINUTES:
        return f"{solver.MINUTES:g} minutes in steps of {solver.IMS_PER_BATCH} images"
    passes = solver.MAX_ITER * solver.IMS_PER_BATCH / max(1, num_images)
    return (
        f"{solver.MAX_ITER} steps of {solver.IMS_PER_BATCH} images, about {passes:.1f} passes over"
        " the data"
    )


def _choose_sampler(cfg: CfgNode, dataset: Any) -> TrainingSets:
    name = cfg.DATALOADER.SAMPLER_TRAIN
    if not isinstance(dataset, list):
        return TrainingSets(dataset, None)
    if name == "TrainingSampler":
        return TrainingSets(dataset, partial(TrainingSampler, len(dataset), True))
    if name == "RepeatFactorTrainingSampler":
        factors = RepeatFactorTrainingSampler.repeat_factors_from_category_frequency(
            dataset, cfg.DATALOADER.REPEAT_THRESHOLD, sqrt=cfg.DATALOADER.REPEAT_SQRT
        )
        _describe_repeats(cfg, factors)
        return TrainingSets(dataset, partial(_repeat_by_factors, factors), factors.double().numpy())
    return TrainingSets(dataset, None)


def _describe_repeats(cfg: CfgNode, factors: Any) -> None:
    """Log how much the repeats make of a pass, or that there are none."""
    threshold = cfg.DATALOADER.REPEAT_THRESHOLD
    if factors.max() > 1:
        logger.info(
            "DATALOADER.REPEAT_THRESHOLD %g repeats %d of %d images: a pass draws about %.0f.",
            threshold,
            int((factors > 1).sum()),
            len(factors),
            factors.sum(),
        )
    else:
        logger.warning(
            "RepeatFactorTrainingSampler repeats nothing, for every class is in more than"
            " DATALOADER.REPEAT_THRESHOLD %g of the images: raise it to draw rare classes more.",
            threshold,
        )


def _repeat_by_factors(factors: Any, seed: int) -> Sampler[int]:
    return RepeatFactorTrainingSampler(factors, seed=seed)


def _load(cfg: CfgNode, names: str | Sequence[str]) -> Any:
    """Load one data set, or several joined, as `_load_anew` does."""
    loaded = _kept[-1] if _kept else {}
    if str(names) not in loaded:
        loaded[str(names)] = _load_anew(cfg, names)
    return loaded[str(names)]


def _load_anew(cfg: CfgNode, names: str | Sequence[str]) -> Any:
    """Load the dataset dicts of one data set, or of several joined, filtered as configured."""
    key_points = cfg.MODEL.ROI_KEYPOINT_HEAD
    try:
        return get_detection_dataset_dicts(
            names,
            filter_empty=cfg.DATALOADER.FILTER_EMPTY_ANNOTATIONS,
            min_keypoints=key_points.MIN_KEYPOINTS_PER_IMAGE if cfg.MODEL.KEYPOINT_ON else 0,
        )
    finally:  # in the place of a failed assertion of the host's, too
        _refuse_sets_without_objects(cfg)


def refuses_sets_without_objects(cfg: CfgNode, lacks: Sequence[str]) -> bool:
    """Tell if a training refuses its sets that have nothing to learn.

    Args:
        cfg: of the training.
        lacks: `dyhead.data.coco_json.lack_of_objects` of each of its sets.
    """
    return bool(cfg.DATALOADER.FILTER_EMPTY_ANNOTATIONS or all(lacks))


def _refuse_sets_without_objects(cfg: CfgNode) -> None:
    """Refuse loaded sets with nothing to learn; as background beside others they may be wanted."""
    lacks = [MetadataCatalog.get(name).get("lack_of_objects", "") for name in cfg.DATASETS.TRAIN]
    if refuses_sets_without_objects(cfg, lacks):
        for name, lack in zip(cfg.DATASETS.TRAIN, lacks, strict=True):
            if lack:
                raise UserError(
                    f"The training set {name!r} has {lack}: label objects in it, or leave it out of"
                    " DATASETS.TRAIN."
                )


def _checked_ratios(cfg: CfgNode) -> list[float]:
    ratios, names = list(cfg.DATASETS.TRAIN_RATIOS), cfg.DATASETS.TRAIN
    if len(ratios) != len(names) or not all(_is_positive(ratio) for ratio in ratios):
        raise UserError(
            f"DATASETS.TRAIN_RATIOS is {ratios}: give one positive number for each of the"
            f" {len(names)} data sets of DATASETS.TRAIN, or leave it empty."
        )
    sampler = cfg.DATALOADER.SAMPLER_TRAIN
    if sampler != "TrainingSampler":
        raise UserError(
            f"DATASETS.TRAIN_RATIOS and DATALOADER.SAMPLER_TRAIN {sampler} each decide what is"
            " drawn: leave the ratios empty, or set the sampler to TrainingSampler."
        )
    return ratios


def _is_positive(ratio: Any) -> bool:
    is_number = isinstance(ratio, (int, float)) and not isinstance(ratio, bool)
    return is_number and math.isfinite(ratio) and ratio > 0


def _describe_shares(cfg: CfgNode, sizes: Sequence[int], ratios: Sequence[float]) -> None:
    """Log the number of passes through each set, which the ratios alone do not tell."""
    drawn = cfg.SOLVER.MAX_ITER * cfg.SOLVER.IMS_PER_BATCH
    shares = [ratio / sum(ratios) for ratio in ratios]
    parts = [
        f"{share:.1%} from {name} ({size} images"
        + ("" if cfg.SOLVER.MINUTES else f", {drawn * share / size:.1f} passes")
        + ")"
        for name, size, share in zip(cfg.DATASETS.TRAIN, sizes, shares, strict=True)
    ]
    logger.info("Images are drawn by DATASETS.TRAIN_RATIOS: %s", ", ".join(parts))
