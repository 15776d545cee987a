"""Builds the loader of a training's images as the config says."""

import logging
from collections.abc import Iterable
from typing import Any

from dyhead.d2.config import CfgNode
from dyhead.d2.data import DatasetFromList, MetadataCatalog, build_detection_train_loader
from dyhead.d2.utils import comm
from dyhead.data.last_steps import LastSteps
from dyhead.data.leaks import warn_of_leaks
from dyhead.data.stream import Ending, TrainingBatches
from dyhead.data.stream_places import groups_by_aspect
from dyhead.data.training_mapper import build_training_mappers
from dyhead.data.training_sets import TrainingSets, describe_length, load_training_sets
from dyhead.errors import UserError

logger = logging.getLogger(__name__)


def build_training_loader(cfg: CfgNode, timeout: int) -> Iterable[list[dict[str, Any]]]:
    """Build batches of DATASETS.TRAIN, which know their place in the data for a resumed run.

    Where only the host knows the order of the images it is the host's loader, which does not.

    Args:
        cfg: of the training, with its length in SOLVER.MAX_ITER.
        timeout: seconds that loader workers may take for a batch; 0 is no limit.

    Raises:
        UserError: a data set, its shares or its augmentation cannot be used.
    """
    sets = load_training_sets(cfg)
    _describe_training(cfg, len(sets.records))
    if comm.is_main_process() and isinstance(sets.records, list):
        warn_of_leaks([image["file_name"] for image in sets.records], cfg.DATASETS.TEST)
    if sets.make_sampler is None:
        return _build_hosts_loader(cfg, sets.records, timeout)
    return _build_batches(cfg, sets, timeout)


def _build_hosts_loader(cfg: CfgNode, records: Any, timeout: int) -> Any:
    mapper, last_mapper = build_training_mappers(cfg, records)
    if mapper is not last_mapper:
        raise UserError(
            "INPUT.AUG mixes images of a list, drawn by TrainingSampler or"
            " RepeatFactorTrainingSampler: choose one of these as DATALOADER.SAMPLER_TRAIN, or set"
            " the PROB of MOSAIC, MIXUP and COPY_PASTE to 0."
        )
    if cfg.INPUT.ONE_SIZE_PER_BATCH:
        raise UserError(
            "INPUT.ONE_SIZE_PER_BATCH True needs TrainingSampler or RepeatFactorTrainingSampler as"
            " DATALOADER.SAMPLER_TRAIN: choose one of these, or set it to False."
        )
    return build_detection_train_loader(cfg, mapper=mapper, dataset=records, timeout=timeout)


def _build_batches(cfg: CfgNode, sets: TrainingSets, timeout: int) -> TrainingBatches:
    assert sets.make_sampler is not None
    records = DatasetFromList(sets.records, copy=False)  # one for the stream and for mixtures
    mapper, last_mapper = build_training_mappers(cfg, records, sets.weights)
    batch_size, ending = cfg.SOLVER.IMS_PER_BATCH, None
    if mapper is not last_mapper:
        _describe_mixing(cfg)
        last_steps = LastSteps(cfg.INPUT.AUG.OFF_FOR_LAST, cfg.SOLVER.MAX_ITER, batch_size)
        ending = Ending(last_steps, last_mapper)
    return TrainingBatches(
        records,
        mapper,
        sets.make_sampler,
        seed=cfg.SEED if cfg.SEED >= 0 else None,
        total_batch_size=batch_size,
        groups=groups_by_aspect(sets.records) if cfg.DATALOADER.ASPECT_RATIO_GROUPING else None,
        num_workers=cfg.DATALOADER.NUM_WORKERS,
        timeout=timeout,
        ending=ending,
    )


def _describe_mixing(cfg: CfgNode) -> None:
    """Log which parts of INPUT.AUG mix images, and how long."""
    aug = cfg.INPUT.AUG
    parts = {name: aug[name].PROB for name in ("MOSAIC", "COPY_PASTE", "MIXUP")}
    logger.info(
        "Images are mixed by INPUT.AUG: %s; not in the last %.0f%% of the steps.",
        ", ".join(f"{name} with probability {p:g}" for name, p in parts.items() if p),
        100 * aug.OFF_FOR_LAST,
    )


def _describe_training(cfg: CfgNode, num_images: int) -> None:
    """Log one line that tells a newcomer what is about to happen."""
    logger.info(
        "Training on %d images of %s, %d classes: %s; results go to %s",
        num_images,
        ", ".join(cfg.DATASETS.TRAIN),
        len(MetadataCatalog.get(cfg.DATASETS.TRAIN[0]).thing_classes),
        describe_length(cfg, num_images),
        cfg.OUTPUT_DIR,
    )
