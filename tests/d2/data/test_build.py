"""Loaders of training and of evaluation, and the batches that they make."""

import importlib
import itertools
import random

import numpy as np
import pytest
import torch
from torch.utils.data import IterableDataset

from dyhead.d2 import HOST
from dyhead.d2.config import get_cfg
from dyhead.d2.data import (
    DatasetCatalog,
    DatasetFromList,
    DatasetMapper,
    ToIterableDataset,
    build_batch_data_loader,
    build_detection_test_loader,
    build_detection_train_loader,
    get_detection_dataset_dicts,
)
from dyhead.d2.data.samplers import InferenceSampler, RepeatFactorTrainingSampler, TrainingSampler

# More workers than cores are just what the tests want to see.
pytestmark = pytest.mark.filterwarnings("ignore:This DataLoader will create")

embedded_only = pytest.mark.skipif(HOST != "embedded", reason="of the embedded host only")


class Endless(IterableDataset):
    def __iter__(self):
        yield from itertools.count()


def identity(element):
    return element


def sized(number):
    return {"number": number, "width": 2, "height": 1}


def drawn(number):
    return number, random.random(), np.random.rand(), torch.rand(()).item()


def flatten(batches):
    return [element for batch in batches for element in batch]


@pytest.fixture
def cfg(coco):
    cfg = get_cfg()
    cfg.DATASETS.TRAIN, cfg.DATASETS.TEST = ("tiny",), ("tiny",)
    cfg.INPUT.MIN_SIZE_TRAIN, cfg.INPUT.MIN_SIZE_TEST = (20,), 20
    cfg.SOLVER.IMS_PER_BATCH, cfg.DATALOADER.NUM_WORKERS, cfg.SEED = 2, 0, 1
    return cfg


@pytest.fixture
def in_two_processes(monkeypatch):
    """Make the batch size and the samplers those of the first of two processes."""
    build = importlib.import_module(build_batch_data_loader.__module__)
    monkeypatch.setattr(build, "get_world_size", lambda: 2)


@pytest.mark.parametrize("num_workers", [0, 1, 3])
@pytest.mark.parametrize("size", [48, 47, 39])
def test_batches_come_in_order_whatever_the_number_of_workers(size, num_workers):
    dataset = DatasetFromList(list(range(size)))
    loader = build_batch_data_loader(dataset, InferenceSampler(size), 8, num_workers=num_workers)
    batches = list(loader)
    assert len(batches) == len(loader) == size // 8
    assert flatten(batches) == list(range(size // 8 * 8))


@pytest.mark.parametrize("num_workers", [0, 3])
def test_the_last_batch_may_be_kept(num_workers):
    loader = build_batch_data_loader(
        DatasetFromList(list(range(46))),
        InferenceSampler(46),
        8,
        num_workers=num_workers,
        drop_last=False,
    )
    batches = list(loader)
    assert len(batches) == len(loader) == 6
    assert sorted(flatten(batches)) == list(range(46))


@pytest.mark.parametrize("num_workers", [0, pytest.param(3, marks=embedded_only)])
def test_grouped_batches_come_in_order_too(num_workers):
    dataset = DatasetFromList([sized(i) for i in range(20)])
    loader = build_batch_data_loader(
        dataset, InferenceSampler(20), 4, aspect_ratio_grouping=True, num_workers=num_workers
    )
    assert [element["number"] for element in flatten(loader)] == list(range(20))


def test_the_total_batch_is_shared_by_the_processes(in_two_processes):
    dataset = DatasetFromList(list(range(8)))
    loader = build_batch_data_loader(dataset, InferenceSampler(8), 4)
    assert [len(batch) for batch in loader] == [2, 2, 2, 2]
    loader = build_batch_data_loader(dataset, InferenceSampler(8), 0, single_gpu_batch_size=4)
    assert [len(batch) for batch in loader] == [4, 4]
    with pytest.raises(AssertionError, match="3"):
        build_batch_data_loader(dataset, InferenceSampler(8), 3)


def test_only_one_batch_size_can_be_given():
    with pytest.raises(ValueError):
        build_batch_data_loader(
            DatasetFromList([1]), InferenceSampler(1), 4, single_gpu_batch_size=4
        )


@pytest.mark.parametrize("grouping", [False, True])
def test_batches_may_be_collated(grouping):
    loader = build_batch_data_loader(
        DatasetFromList([sized(i) for i in range(4)]),
        InferenceSampler(4),
        2,
        aspect_ratio_grouping=grouping,
        collate_fn=len,
    )
    assert list(loader) == [2, 2]


def draws(seed):
    loader = build_detection_train_loader(
        list(range(40)),
        mapper=drawn,
        sampler=TrainingSampler(40, shuffle=False),
        total_batch_size=4,
        aspect_ratio_grouping=False,
        num_workers=2,
        seed=seed,
    )
    return flatten(itertools.islice(loader, 6))


def test_each_worker_has_random_numbers_of_its_own():
    for column in list(zip(*draws(seed=3), strict=True))[1:]:
        assert len(set(column)) == 24


def test_the_seed_decides_the_workers_random_numbers():
    assert draws(seed=3) == draws(seed=3)
    assert draws(seed=3) != draws(seed=4)


def test_training_gives_batches_without_end(cfg):
    loader = build_detection_train_loader(cfg)
    batches = list(itertools.islice(loader, 8))
    assert all(len(batch) == 2 for batch in batches)
    for batch in batches:
        wide = [element["width"] > element["height"] for element in batch]
        assert len(set(wide)) == 1
    for element in flatten(batches):
        assert min(element["image"].shape[1:]) == 20
        assert len(element["instances"]) > 0
    assert {element["image_id"] for element in flatten(batches)} == {10, 30, 50}


def test_training_may_keep_empty_images(cfg):
    cfg.DATALOADER.FILTER_EMPTY_ANNOTATIONS = False
    loader = build_detection_train_loader(cfg, aspect_ratio_grouping=False)
    elements = flatten(itertools.islice(loader, 5))
    assert {element["image_id"] for element in elements} == {10, 20, 30, 40, 50}


def test_the_config_s_seed_decides_the_order(cfg):
    def order(seed):
        cfg.SEED = seed
        loader = build_detection_train_loader(cfg, aspect_ratio_grouping=False)
        return [element["image_id"] for element in flatten(itertools.islice(loader, 20))]

    assert order(3) == order(3)
    assert order(3) != order(4)


def test_training_with_workers_gives_the_same_images(cfg):
    def order(num_workers):
        cfg.DATALOADER.NUM_WORKERS = num_workers
        loader = build_detection_train_loader(cfg, aspect_ratio_grouping=False)
        return [element["image_id"] for element in flatten(itertools.islice(loader, 6))]

    assert order(0) == order(2)


def test_arguments_win_over_the_config(cfg):
    loader = build_detection_train_loader(
        cfg, mapper=identity, dataset=[1, 2, 3], total_batch_size=3, aspect_ratio_grouping=False
    )
    assert sorted(next(iter(loader))) == [1, 2, 3]


def test_the_config_chooses_the_sampler(cfg):
    cfg.DATALOADER.SAMPLER_TRAIN = "RepeatFactorTrainingSampler"
    cfg.DATALOADER.REPEAT_THRESHOLD = 1.0
    loader = build_detection_train_loader(cfg, mapper=identity, aspect_ratio_grouping=False)
    assert isinstance(loader.dataset.sampler, RepeatFactorTrainingSampler)
    cfg.DATALOADER.SAMPLER_TRAIN = "NoSampler"
    with pytest.raises(ValueError, match="NoSampler"):
        build_detection_train_loader(cfg)


def test_training_without_a_config_takes_everything_as_arguments(coco):
    loader = build_detection_train_loader(
        get_detection_dataset_dicts("tiny"),
        mapper=DatasetMapper(True, augmentations=[], image_format="RGB"),
        total_batch_size=1,
    )
    assert next(iter(loader))[0]["image"].dtype == torch.uint8


def test_elements_may_need_no_mapper():
    loader = build_detection_train_loader(
        [1, 2, 3], mapper=None, total_batch_size=3, aspect_ratio_grouping=False
    )
    assert sorted(next(iter(loader))) == [1, 2, 3]


def test_iterable_datasets_have_their_own_order(cfg):
    dataset = ToIterableDataset(DatasetFromList([5, 6, 7]), InferenceSampler(3))
    loader = build_detection_train_loader(
        dataset, mapper=identity, total_batch_size=1, aspect_ratio_grouping=False
    )
    assert list(loader) == [[5], [6], [7]]
    with pytest.raises(AssertionError):
        build_detection_train_loader(
            dataset, mapper=identity, sampler=TrainingSampler(3), total_batch_size=1
        )

    DatasetCatalog.register("endless", Endless)
    cfg.DATASETS.TRAIN = ("endless",)
    loader = build_detection_train_loader(cfg, mapper=identity, aspect_ratio_grouping=False)
    assert next(iter(loader)) == [0, 1]
    loader = build_detection_test_loader(cfg, "endless", mapper=identity)
    assert next(iter(loader)) == [0]


@pytest.mark.parametrize("num_workers", [0, 3])
def test_evaluation_gives_each_image_once_and_in_order(cfg, num_workers):
    cfg.DATALOADER.NUM_WORKERS = num_workers
    loader = build_detection_test_loader(cfg, "tiny")
    batches = list(loader)
    assert len(loader) == 5
    assert [[element["image_id"] for element in batch] for batch in batches] == [
        [10],
        [20],
        [30],
        [40],
        [50],
    ]
    assert all("instances" not in element for element in flatten(batches))


def test_evaluation_takes_several_datasets_and_explicit_arguments(cfg):
    assert len(build_detection_test_loader(cfg, ["tiny", "tiny"])) == 10
    loader = build_detection_test_loader(
        list(range(50)), mapper=identity, batch_size=4, num_workers=2
    )
    assert flatten(loader) == list(range(50))
    assert len(loader) == 13
    loader = build_detection_test_loader([1, 2], mapper=identity, batch_size=2, collate_fn=sum)
    assert list(loader) == [3]


def test_evaluation_of_an_iterable_dataset_is_shared_by_the_workers():
    dataset = ToIterableDataset(DatasetFromList(list(range(10))), InferenceSampler(10))
    loader = build_detection_test_loader(dataset, mapper=identity, num_workers=3)
    assert sorted(flatten(loader)) == list(range(10))
