"""Batches are of one kind and full where they can be; a stream is read no further than needed."""

import itertools
import random
from collections.abc import Iterator, Sequence

import pytest

from dyhead.prediction.batching import map_in_batches


class Recorder:
    """Doubles numbers, and remembers its batches."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []

    def __call__(self, items: Sequence[int]) -> list[int]:
        self.batches.append(list(items))
        return [2 * item for item in items]


@pytest.mark.parametrize("kinds", [1, 2, 7])
@pytest.mark.parametrize("size", [1, 3, 8])
def test_results_come_in_the_order_of_the_items(kinds: int, size: int) -> None:
    items = random.Random(0).choices(range(1000), k=101)
    double = Recorder()
    results = map_in_batches(double, items, lambda item: item % kinds, size)
    assert list(results) == [2 * item for item in items]
    assert sorted(itertools.chain(*double.batches)) == sorted(items)
    assert all(len(batch) <= size for batch in double.batches)
    assert all(len({item % kinds for item in batch}) == 1 for batch in double.batches)


def test_alternating_kinds_give_full_batches() -> None:
    double = Recorder()
    list(map_in_batches(double, range(16), lambda item: item % 2, 4))
    assert [len(batch) for batch in double.batches] == [4, 4, 4, 4]


@pytest.mark.parametrize("kinds", [1, 3, 1000])
def test_no_more_than_four_batches_are_read_ahead(kinds: int) -> None:
    read = 0

    def endless() -> Iterator[int]:
        nonlocal read
        for item in itertools.count():
            read += 1
            yield item

    results = map_in_batches(Recorder(), endless(), lambda item: item % kinds, 4)
    assert read == 0, "nothing is read before a result is asked for"
    for number, _ in zip(range(100), results, strict=False):
        assert read <= number + 16


def test_a_rare_kind_does_not_hold_up_the_others() -> None:
    read = 0

    def endless() -> Iterator[int]:
        nonlocal read
        for item in itertools.count():
            read += 1
            yield item

    results = map_in_batches(Recorder(), endless(), lambda item: item == 0, 4)
    assert next(results) == 0
    assert read <= 16


def test_nothing_gives_nothing() -> None:
    assert list(map_in_batches(Recorder(), [], lambda item: item, 4)) == []
