import itertools
import pickle

import pytest
import torch
from torch.utils.data import DataLoader, IterableDataset

from dyhead.d2 import HOST
from dyhead.d2.data.common import (
    AspectRatioGroupedDataset,
    DatasetFromList,
    MapDataset,
    ToIterableDataset,
)
from dyhead.d2.data.samplers import InferenceSampler, TrainingSampler

# More workers than cores are just what the tests want to see.
pytestmark = pytest.mark.filterwarnings("ignore:This DataLoader will create")

embedded_only = pytest.mark.skipif(HOST != "embedded", reason="of the embedded host only")


class Numbers(IterableDataset):
    def __iter__(self):
        yield from (1, 2, 3)


def double_but_two(number):
    return None if number == 2 else 2 * number


def nothing(number):
    return None


@pytest.mark.parametrize("options", [{}, {"serialize": False}, {"copy": False}])
def test_a_list_keeps_its_elements(options):
    elements = [{"a": [i] * i} for i in range(10)]
    dataset = DatasetFromList(elements, **options)
    assert len(dataset) == 10
    assert [dataset[i] for i in range(10)] == elements
    assert pickle.loads(pickle.dumps(dataset))[7] == elements[7]


@pytest.mark.parametrize("options", [{}, {"serialize": False}, {"copy": False}])
def test_elements_may_be_changed_by_who_gets_them(options):
    dataset = DatasetFromList([{"a": [1]}], **options)
    dataset[0]["a"].append(2)
    assert dataset[0] == {"a": [1]}


def test_neither_copied_nor_serialised_elements_are_the_list_s_own():
    elements = [{"a": 1}]
    assert DatasetFromList(elements, copy=False, serialize=False)[0] is elements[0]


def test_the_storage_may_be_another_one():
    dataset = DatasetFromList([1, 2, 3], serialize=torch.tensor)
    assert torch.equal(dataset[2], torch.tensor(3))
    with pytest.raises(TypeError):
        DatasetFromList([1], serialize="yes")


@embedded_only
def test_a_serialised_list_ends():
    dataset = DatasetFromList([1, 2, 3])
    assert dataset[-1] == 3
    with pytest.raises(IndexError):
        dataset[3]
    assert len(DatasetFromList([])) == 0


def test_a_map_applies_to_each_element():
    dataset = MapDataset(DatasetFromList([1, 2, 3]), double_but_two)
    assert len(dataset) == 3
    assert (dataset[0], dataset[2]) == (2, 6)


def test_what_a_map_skips_is_replaced_by_another_element():
    dataset = MapDataset(DatasetFromList([1, 2, 3]), double_but_two)
    assert {dataset[1] for _ in range(50)} == {2, 6}


def test_an_element_skipped_once_may_come_back():
    seen = []

    def fail_once(number):
        seen.append(number)
        return None if seen == [0] else number

    dataset = MapDataset(DatasetFromList([0, 1]), fail_once)
    assert dataset[0] == 1
    assert dataset[0] == 0


@embedded_only
def test_a_map_that_skips_everything_fails():
    with pytest.raises(RuntimeError, match="each of the 3 elements"):
        MapDataset(DatasetFromList([1, 2, 3]), nothing)[0]


def test_a_map_of_an_iterable_dataset_is_iterable_and_skips():
    dataset = MapDataset(Numbers(), double_but_two)
    assert isinstance(dataset, IterableDataset)
    assert list(dataset) == [2, 6]


def test_maps_can_be_sent_to_other_processes():
    dataset = MapDataset(DatasetFromList([1, 2, 3]), double_but_two)
    assert pickle.loads(pickle.dumps(dataset))[0] == 2
    iterable = MapDataset(Numbers(), double_but_two)
    assert list(pickle.loads(pickle.dumps(iterable))) == [2, 6]


@pytest.mark.parametrize("num_workers", [0, 1, 3])
@pytest.mark.parametrize("chunk_size", [1, 4])
def test_workers_share_the_sampler_s_indices(num_workers, chunk_size):
    dataset = ToIterableDataset(
        DatasetFromList(list(range(30))), InferenceSampler(30), shard_chunk_size=chunk_size
    )
    assert len(dataset) == 30
    loader = DataLoader(dataset, batch_size=chunk_size, num_workers=num_workers)
    batches = [batch.tolist() for batch in loader]
    assert batches == [list(range(30))[i : i + chunk_size] for i in range(0, 30, chunk_size)]


def test_an_endless_sampler_gives_an_endless_dataset():
    sampler = TrainingSampler(10, seed=1)
    dataset = ToIterableDataset(DatasetFromList(list(range(10))), sampler)
    assert list(itertools.islice(dataset, 25)) == list(itertools.islice(sampler, 25))


def test_an_iterable_dataset_needs_no_sampler():
    with pytest.raises(AssertionError):
        ToIterableDataset(Numbers(), InferenceSampler(3))


SHAPES = [(2, 1), (1, 2), (2, 1), (1, 1), (3, 1), (1, 5)]
IMAGES = [{"width": width, "height": height} for width, height in SHAPES]


def test_batches_hold_wide_images_or_high_ones():
    batches = list(AspectRatioGroupedDataset(IMAGES, 2))
    assert batches == [[IMAGES[0], IMAGES[2]], [IMAGES[1], IMAGES[3]]]


def test_stopping_early_leaves_no_full_batch_behind():
    dataset = AspectRatioGroupedDataset(IMAGES, 2)
    for _ in range(5):
        for batch in itertools.islice(dataset, 1):
            assert len(batch) == 2
        assert all(len(bucket) < 2 for bucket in dataset._buckets)
