"""Random numbers follow from the numbers that seed them, and from nothing else."""

import random

import numpy as np
import torch

from dyhead.data.seeding import kept_generators, seed_cpu_generators, seed_generators


def draw() -> tuple[float, float, float]:
    return random.random(), float(np.random.rand()), float(torch.rand(()))


def test_the_same_numbers_give_the_same_draws_and_others_give_others() -> None:
    seen = {}
    for numbers in ((0, 1, 0), (0, 0, 1), (1, 0, 0), (0, 1, 1)):
        seed_generators(*numbers)
        first = draw()
        assert first != draw()
        seed_cpu_generators(*numbers)
        assert draw() == first
        seen[numbers] = first
    for column in zip(*seen.values(), strict=True):
        assert len(set(column)) == len(seen)


def test_what_is_drawn_within_changes_nothing_without() -> None:
    seed_generators(3)
    expected = [draw() for _ in range(2)]
    seed_generators(3)
    assert draw() == expected[0]
    with kept_generators():
        seed_cpu_generators(4)
        draw()
    assert draw() == expected[1]
