"""Train and test loaders, from a config or from explicit arguments."""

import logging
import operator
from collections.abc import Callable
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset, IterableDataset, Sampler

from ..config import CfgNode, configurable
from ..utils.comm import get_world_size
from ..utils.env import seed_all_rng
from .common import AspectRatioGroupedDataset, DatasetFromList, MapDataset, ToIterableDataset
from .dataset_dicts import (
    filter_images_with_few_keypoints,
    filter_images_with_only_crowd_annotations,
    get_detection_dataset_dicts,
    print_instances_class_histogram,
)
from .dataset_mapper import DatasetMapper
from .detection_utils import check_metadata_consistency
from .samplers import (
    InferenceSampler,
    RepeatFactorTrainingSampler,
    TrainingSampler,
)

__all__ = [
    "build_batch_data_loader",
    "build_detection_test_loader",
    "build_detection_train_loader",
    "check_metadata_consistency",
    "filter_images_with_few_keypoints",
    "filter_images_with_only_crowd_annotations",
    "get_detection_dataset_dicts",
    "print_instances_class_histogram",
    "trivial_batch_collator",
    "worker_init_reset_seed",
]

logger = logging.getLogger("detectron2.data.build")


def trivial_batch_collator(batch: list[Any]) -> list[Any]:
    """The batch itself: a detector takes a list of dicts."""
    return batch


def worker_init_reset_seed(worker_id: int) -> None:
    """Seed Python, NumPy and torch in a loader worker, differently in each worker."""
    seed_all_rng(torch.initial_seed() % 2**31 + worker_id)


def _batch_size_per_process(total_batch_size: int | None, single_gpu_batch_size: int | None) -> int:
    if single_gpu_batch_size:
        if total_batch_size:
            raise ValueError(
                "total_batch_size and single_gpu_batch_size exclude each other: give one of them."
            )
        return single_gpu_batch_size
    world_size = get_world_size()
    assert total_batch_size and total_batch_size > 0 and total_batch_size % world_size == 0, (
        f"The total batch size ({total_batch_size}) must be a positive multiple of the number of"
        f" processes ({world_size})."
    )
    return total_batch_size // world_size


def build_batch_data_loader(
    dataset: Dataset,
    sampler: Sampler | None,
    total_batch_size: int | None,
    *,
    aspect_ratio_grouping: bool = False,
    num_workers: int = 0,
    collate_fn: Callable[[list[Any]], Any] | None = None,
    drop_last: bool = True,
    single_gpu_batch_size: int | None = None,
    prefetch_factor: int | None = 2,
    persistent_workers: bool = False,
    pin_memory: bool = False,
    seed: int | None = None,
    **kwargs: Any,
) -> Any:
    """Batch a dataset in its sampler's order, whatever the number of workers.

    Args:
        dataset: map-style or iterable.
        sampler: gives indices of a map-style dataset; None for an iterable one.
        total_batch_size: number of elements in a step of all processes together.
        aspect_ratio_grouping: see `AspectRatioGroupedDataset`; this needs `drop_last`.
        num_workers: loader processes of each training process; 0 loads in the process itself.
        collate_fn: makes a batch of a list; the list itself by default.
        drop_last: leave out the last, incomplete batch.
        single_gpu_batch_size: the batch size of each process, in the place of total_batch_size.
        prefetch_factor: batches that each worker loads ahead.
        persistent_workers: keep the workers for the next iteration over the loader.
        pin_memory: as in torch's DataLoader.
        seed: fixes the workers' seeds.
        **kwargs: further arguments of torch's DataLoader.

    Returns:
        An iterable of batches.

    Raises:
        ValueError: both batch sizes are given.
    """
    batch_size = _batch_size_per_process(total_batch_size, single_gpu_batch_size)
    logger.info(f"Batches of {batch_size} images in each process")
    if isinstance(dataset, IterableDataset):
        assert sampler is None, "An iterable dataset has its own order: sampler must be None."
    else:
        assert sampler is not None, "A map-style dataset needs a sampler."
        # Workers take turns giving batches, or single elements that are grouped afterwards.
        chunk_size = 1 if aspect_ratio_grouping else batch_size
        dataset = ToIterableDataset(dataset, sampler, shard_chunk_size=chunk_size)
    loader_args: dict[str, Any] = {
        "num_workers": num_workers,
        "worker_init_fn": worker_init_reset_seed,
        "prefetch_factor": prefetch_factor if num_workers > 0 else None,
        "persistent_workers": persistent_workers,
        "pin_memory": pin_memory,
        "generator": None if seed is None else torch.Generator().manual_seed(seed),
        **kwargs,
    }
    if not aspect_ratio_grouping:
        collate_fn = trivial_batch_collator if collate_fn is None else collate_fn
        return DataLoader(
            dataset, batch_size, drop_last=drop_last, collate_fn=collate_fn, **loader_args
        )
    assert drop_last, "aspect_ratio_grouping leaves incomplete batches out: drop_last must be True."
    elements = DataLoader(dataset, collate_fn=operator.itemgetter(0), **loader_args)
    batches = AspectRatioGroupedDataset(elements, batch_size)
    return batches if collate_fn is None else MapDataset(batches, collate_fn)


def _training_sampler(cfg: CfgNode, dataset: Any) -> Sampler | None:
    if isinstance(dataset, IterableDataset):
        logger.info("The dataset is iterable: it needs no sampler.")
        return None
    name = cfg.DATALOADER.SAMPLER_TRAIN
    logger.info(f"Using training sampler {name}")
    # A negative SEED asks for a different run each time; then all processes agree on a seed.
    seed = cfg.SEED if cfg.SEED >= 0 else None
    if name == "TrainingSampler":
        return TrainingSampler(len(dataset), seed=seed)
    if name == "RepeatFactorTrainingSampler":
        factors = RepeatFactorTrainingSampler.repeat_factors_from_category_frequency(
            dataset, cfg.DATALOADER.REPEAT_THRESHOLD, sqrt=cfg.DATALOADER.REPEAT_SQRT
        )
        return RepeatFactorTrainingSampler(factors, seed=seed)
    raise ValueError(
        f"DATALOADER.SAMPLER_TRAIN {name!r} is unknown: use TrainingSampler or"
        " RepeatFactorTrainingSampler, or give the loader a sampler."
    )


def _train_loader_from_config(
    cfg: CfgNode, mapper: Any = None, *, dataset: Any = None, sampler: Sampler | None = None
) -> dict[str, Any]:
    if dataset is None:
        dataset = get_detection_dataset_dicts(
            cfg.DATASETS.TRAIN, filter_empty=cfg.DATALOADER.FILTER_EMPTY_ANNOTATIONS
        )
    return {
        "dataset": dataset,
        "sampler": _training_sampler(cfg, dataset) if sampler is None else sampler,
        "mapper": DatasetMapper(cfg, True) if mapper is None else mapper,
        "total_batch_size": cfg.SOLVER.IMS_PER_BATCH,
        "aspect_ratio_grouping": cfg.DATALOADER.ASPECT_RATIO_GROUPING,
        "num_workers": cfg.DATALOADER.NUM_WORKERS,
    }


def _mapped(dataset: Any, mapper: Callable[[Any], Any] | None) -> Any:
    if isinstance(dataset, list):
        dataset = DatasetFromList(dataset, copy=False)
    return dataset if mapper is None else MapDataset(dataset, mapper)


@configurable(from_config=_train_loader_from_config)
def build_detection_train_loader(
    dataset: Any,
    *,
    mapper: Callable[[Any], Any] | None,
    sampler: Sampler | None = None,
    total_batch_size: int | None,
    aspect_ratio_grouping: bool = True,
    num_workers: int = 0,
    collate_fn: Callable[[list[Any]], Any] | None = None,
    **kwargs: Any,
) -> Any:
    """An endless loader for training; called with a config first, it takes the rest from there.

    Args:
        dataset: a list of dataset dicts, or a map-style or iterable torch dataset.
        mapper: from an element to a model's input; None for elements that are one already.
        sampler: TrainingSampler by default; None for an iterable dataset.
        total_batch_size: number of images in a step of all processes together.
        aspect_ratio_grouping: see `AspectRatioGroupedDataset`.
        num_workers: loader processes of each training process.
        collate_fn: makes a batch of a list; the list itself by default.
        **kwargs: further arguments of `build_batch_data_loader`.

    Returns:
        An iterable that gives lists of mapped elements, without end.
    """
    dataset = _mapped(dataset, mapper)
    if sampler is None and not isinstance(dataset, IterableDataset):
        sampler = TrainingSampler(len(dataset))
    return build_batch_data_loader(
        dataset,
        sampler,
        total_batch_size,
        aspect_ratio_grouping=aspect_ratio_grouping,
        num_workers=num_workers,
        collate_fn=collate_fn,
        **kwargs,
    )


def _test_loader_from_config(
    cfg: CfgNode, dataset_name: str | list[str], mapper: Any = None
) -> dict[str, Any]:
    dataset = get_detection_dataset_dicts(dataset_name, filter_empty=False)
    iterable = isinstance(dataset, IterableDataset)
    return {
        "dataset": dataset,
        "mapper": DatasetMapper(cfg, False) if mapper is None else mapper,
        "num_workers": cfg.DATALOADER.NUM_WORKERS,
        "sampler": None if iterable else InferenceSampler(len(dataset)),
    }


@configurable(from_config=_test_loader_from_config)
def build_detection_test_loader(
    dataset: Any,
    *,
    mapper: Callable[[Any], Any],
    sampler: Sampler | None = None,
    batch_size: int = 1,
    num_workers: int = 0,
    collate_fn: Callable[[list[Any]], Any] | None = None,
) -> DataLoader:
    """A loader that gives every element once; all processes together see the whole dataset.

    Called as (cfg, dataset_name) it takes the rest from the config.

    Args:
        dataset: a list of dataset dicts, or a map-style or iterable torch dataset.
        mapper: from an element to a model's input.
        sampler: InferenceSampler by default; None for an iterable dataset.
        batch_size: number of images in a batch of each process.
        num_workers: loader processes of each process.
        collate_fn: makes a batch of a list; the list itself by default.
    """
    dataset = _mapped(dataset, mapper)
    if isinstance(dataset, IterableDataset):
        assert sampler is None, "An iterable dataset has its own order: sampler must be None."
    elif sampler is None:
        sampler = InferenceSampler(len(dataset))
    return DataLoader(
        dataset,
        batch_size=batch_size,
        sampler=sampler,
        num_workers=num_workers,
        collate_fn=trivial_batch_collator if collate_fn is None else collate_fn,
    )
