import importlib
import itertools
import math
from collections import Counter

import pytest
import torch

from dyhead.d2.data.samplers import (
    GroupedBatchSampler,
    InferenceSampler,
    RandomSubsetTrainingSampler,
    RepeatFactorTrainingSampler,
    TrainingSampler,
)
from dyhead.d2.utils.env import seed_all_rng


def take(sampler, count):
    return list(itertools.islice(sampler, count))


@pytest.fixture
def as_rank(monkeypatch):
    """Make samplers as if in a process of the given rank."""
    comm = importlib.import_module(TrainingSampler.__module__).comm

    def make(rank, world_size, factory):
        with monkeypatch.context() as context:
            context.setattr(comm, "get_rank", lambda: rank)
            context.setattr(comm, "get_world_size", lambda: world_size)
            return factory()

    return make


def samplers(seed):
    factors = torch.tensor([1.0, 2.5, 1.0, 0.5, 3.0])
    return {
        "training": lambda: TrainingSampler(11, seed=seed),
        "in order": lambda: TrainingSampler(11, shuffle=False, seed=seed),
        "repeat": lambda: RepeatFactorTrainingSampler(factors, seed=seed),
        "subset": lambda: RandomSubsetTrainingSampler(
            20, 0.5, seed_shuffle=seed, seed_subset=seed + 1
        ),
    }


def test_every_epoch_is_a_new_permutation():
    stream = take(TrainingSampler(30, seed=3), 90)
    epochs = [tuple(stream[i : i + 30]) for i in (0, 30, 60)]
    assert all(sorted(epoch) == list(range(30)) for epoch in epochs)
    assert len(set(epochs)) == 3


def test_without_shuffling_the_order_stays():
    assert take(TrainingSampler(3, shuffle=False), 7) == [0, 1, 2, 0, 1, 2, 0]


@pytest.mark.parametrize("kind", samplers(0))
def test_the_seed_decides(kind):
    first, again = take(samplers(5)[kind](), 40), take(samplers(5)[kind](), 40)
    assert first == again
    if kind != "in order":
        assert first != take(samplers(6)[kind](), 40)


def test_the_seed_is_drawn_when_the_sampler_is_made():
    seed_all_rng(42)
    first = take(TrainingSampler(30), 65)
    seed_all_rng(42)
    sampler = TrainingSampler(30)
    seed_all_rng(999)
    assert take(sampler, 65) == first


@pytest.mark.parametrize("kind", samplers(0))
@pytest.mark.parametrize("world_size", [2, 3])
def test_all_processes_together_cover_what_one_would(as_rank, kind, world_size):
    factory, per_process = samplers(7)[kind], 12
    alone = take(factory(), per_process * world_size)
    parts = [take(as_rank(rank, world_size, factory), per_process) for rank in range(world_size)]
    for step in range(4):  # three images per process and step
        together = Counter(i for part in parts for i in part[3 * step : 3 * step + 3])
        begin = 3 * world_size * step
        assert together == Counter(alone[begin : begin + 3 * world_size])


@pytest.mark.parametrize(("size", "error"), [(0, ValueError), (-1, ValueError), (2.0, TypeError)])
def test_a_size_has_to_be_a_positive_int(size, error):
    with pytest.raises(error):
        TrainingSampler(size)


def test_a_subset_is_drawn_once_and_its_size_is_the_ratio():
    stream = take(RandomSubsetTrainingSampler(20, 0.5, seed_shuffle=1, seed_subset=2), 40)
    assert set(Counter(stream).values()) == {4}
    assert len(set(stream)) == 10
    other = take(RandomSubsetTrainingSampler(20, 0.5, seed_shuffle=9, seed_subset=2), 40)
    assert set(other) == set(stream)


@pytest.mark.parametrize("ratio", [0.0, 1.5, 0.01])
def test_a_subset_has_to_hold_something(ratio):
    with pytest.raises(AssertionError):
        RandomSubsetTrainingSampler(20, ratio)


def test_rare_categories_are_repeated():
    images = [
        {"annotations": [{"category_id": 0}, {"category_id": 1}, {"category_id": 1}]},
        {"annotations": [{"category_id": 0}]},
        {"annotations": []},
    ]
    factors = RepeatFactorTrainingSampler.repeat_factors_from_category_frequency(images, 0.5)
    torch.testing.assert_close(factors, torch.tensor([math.sqrt(1.5), 1.0, 1.0]))
    factors = RepeatFactorTrainingSampler.repeat_factors_from_category_frequency(
        images, 0.5, sqrt=False
    )
    torch.testing.assert_close(factors, torch.tensor([1.5, 1.0, 1.0]))


def test_repeat_factors_hold_on_average():
    factors = torch.tensor([1.0, 2.5, 1.0, 0.5])
    counts = Counter(take(RepeatFactorTrainingSampler(factors, seed=0), 20_000))
    assert [counts[i] / 4_000 for i in range(4)] == pytest.approx(factors.tolist(), rel=0.03)


def test_factors_of_one_give_plain_epochs():
    stream = take(RepeatFactorTrainingSampler(torch.ones(6), shuffle=False), 12)
    assert stream == [0, 1, 2, 3, 4, 5] * 2


@pytest.mark.parametrize(
    ("size", "world_size", "parts"),
    [
        (16, 2, [range(8), range(8, 16)]),
        (2, 3, [range(1), range(1, 2), range(0)]),
        (42, 4, [range(11), range(11, 22), range(22, 32), range(32, 42)]),
    ],
)
def test_inference_splits_the_dataset_into_contiguous_parts(as_rank, size, world_size, parts):
    made = [as_rank(rank, world_size, lambda: InferenceSampler(size)) for rank in range(world_size)]
    assert [list(sampler) for sampler in made] == [list(part) for part in parts]
    assert [len(sampler) for sampler in made] == [len(part) for part in parts]


def test_inference_needs_a_dataset():
    with pytest.raises(AssertionError):
        InferenceSampler(0)


def test_without_a_seed_the_order_follows_the_global_seed():
    def first_indices(seed):
        seed_all_rng(seed)
        return take(TrainingSampler(50), 50)

    assert first_indices(1) == first_indices(1) != first_indices(2)


class InOrder(torch.utils.data.Sampler):
    def __init__(self, indices):
        self.indices = indices

    def __iter__(self):
        return iter(self.indices)


def test_grouped_batches_hold_one_group_each_in_the_samplers_order():
    groups = [0, 1, 0, 1, 0, 1, 1]
    batches = [*iter(GroupedBatchSampler(InOrder([4, 0, 1, 5, 2, 3, 6]), groups, 2))]
    assert batches == [[4, 0], [1, 5], [3, 6]]  # 2 waits for another of its group
    with pytest.raises(ValueError, match="sampler"):
        GroupedBatchSampler([0, 1], groups, 2)
