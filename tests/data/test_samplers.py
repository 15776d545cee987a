"""Draws from several data sets in exact shares."""

import itertools
from collections import Counter
from collections.abc import Sequence

import pytest

from dyhead.d2.data import DatasetFromList, ToIterableDataset
from dyhead.d2.utils import comm
from dyhead.data.samplers import RatioTrainingSampler, whole_shares


def draw(count: int, sizes: Sequence[int], ratios: Sequence[float], seed: int = 5) -> list[int]:
    return list(itertools.islice(RatioTrainingSampler(sizes, ratios, seed), count))


def sets_of(indices: Sequence[int], sizes: Sequence[int]) -> list[int]:
    ends = list(itertools.accumulate(sizes))
    return [next(k for k, end in enumerate(ends) if index < end) for index in indices]


@pytest.mark.parametrize(
    ("ratios", "shares"),
    [
        ((1, 2), (1, 2)),
        ((0.3, 0.7), (3, 7)),
        ((50, 100, 25), (2, 4, 1)),
        ((1, 0.0001), (10000, 1)),
        ((0.333, 0.667), (333, 667)),
        ((7.0,), (1,)),
    ],
)
def test_ratios_become_the_smallest_whole_numbers(
    ratios: tuple[float, ...], shares: tuple[int, ...]
) -> None:
    assert whole_shares(ratios) == shares


@pytest.mark.parametrize("ratios", [(1, 2), (3, 1), (1, 1.5), (2, 3, 5), (1,)])
def test_shares_are_exact_in_each_stretch(ratios: tuple[float, ...]) -> None:
    sizes = (7, 11, 4)[: len(ratios)]
    shares = whole_shares(ratios)
    drawn = sets_of(draw(sum(shares) * 30, sizes, ratios), sizes)
    for begin in range(0, len(drawn), sum(shares)):
        stretch = Counter(drawn[begin : begin + sum(shares)])
        assert [stretch[k] for k in range(len(shares))] == list(shares)


def test_long_stretches_stay_close_to_the_shares_all_along() -> None:
    sizes = (30, 40)
    drawn = sets_of(draw(3000, sizes, (0.333, 0.667)), sizes)
    for end in range(64, 3001, 64):
        assert abs(drawn[:end].count(0) - 0.333 * end) <= 1
    assert drawn[:1000].count(0) in range(333 - 22, 333 + 22)


def test_each_set_is_passed_through_whole_in_a_new_order() -> None:
    sizes = (6, 10)
    indices = draw(600, sizes, (2, 1))
    for start, size in ((0, 6), (6, 10)):
        own = [index for index in indices if start <= index < start + size]
        passes = [own[i : i + size] for i in range(0, len(own) - size + 1, size)]
        assert len(passes) > 15
        assert all(sorted(one) == list(range(start, start + size)) for one in passes)
        assert len(set(map(tuple, passes))) > 10


@pytest.mark.parametrize("world_size", [2, 3])
def test_ranks_share_the_stream_of_one_process(
    monkeypatch: pytest.MonkeyPatch, world_size: int
) -> None:
    sizes, ratios = (5, 8), (1, 1)
    whole = draw(60 * world_size, sizes, ratios)
    monkeypatch.setattr(comm, "get_world_size", lambda: world_size)
    parts = []
    for rank in range(world_size):
        monkeypatch.setattr(comm, "get_rank", lambda rank=rank: rank)
        parts.append(draw(60, sizes, ratios))
    assert [index for step in zip(*parts, strict=True) for index in step] == whole
    for part in parts:  # no rank is left with one set
        assert 15 < sets_of(part, sizes).count(0) < 45


def test_the_seed_decides() -> None:
    assert draw(50, (5, 8), (1, 2)) == draw(50, (5, 8), (1, 2))
    assert draw(50, (5, 8), (1, 2)) != draw(50, (5, 8), (1, 2), seed=6)
    sampler = RatioTrainingSampler((5, 8), (1, 2), 5)
    assert list(itertools.islice(sampler, 9)) == list(itertools.islice(sampler, 9))
    assert list(itertools.islice(RatioTrainingSampler((5, 8), (1, 2)), 3))


def test_it_feeds_the_loaders_dataset() -> None:
    elements = [f"image {i}" for i in range(13)]
    dataset = ToIterableDataset(
        DatasetFromList(elements), RatioTrainingSampler((5, 8), (1, 2), 5), shard_chunk_size=2
    )
    assert list(itertools.islice(dataset, 20)) == [f"image {i}" for i in draw(20, (5, 8), (1, 2))]


@pytest.mark.parametrize(
    ("sizes", "ratios"),
    [((5,), (1, 2)), ((), ()), ((5, 0), (1, 1)), ((5, 5), (1, 0)), ((5, 5), (1, float("inf")))],
)
def test_impossible_arguments_are_refused(
    sizes: tuple[int, ...], ratios: tuple[float, ...]
) -> None:
    with pytest.raises(ValueError):
        RatioTrainingSampler(sizes, ratios)
