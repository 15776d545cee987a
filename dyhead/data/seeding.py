"""Random numbers that follow from a seed and a place, not from what was drawn before."""

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


def seed_generators(*numbers: int) -> None:
    """Seed the generators of Python, NumPy and torch (all devices in use) by several numbers.

    Args:
        numbers: not negative; other numbers, or another order, give other random numbers.
    """
    seed = _seed_of_host(numbers)
    if torch.cuda.is_initialized():
        torch.cuda.manual_seed_all(seed)
    if torch.backends.mps.is_available():
        torch.mps.manual_seed(seed)


@contextmanager
def seeded(*numbers: int) -> Iterator[None]:
    """Seed the generators of Python, NumPy and torch's CPU, and put them back afterwards.

    Args:
        numbers: as for `seed_generators`.
    """
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    _seed_of_host(numbers)
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.set_rng_state(states[2])


def _seed_of_host(numbers: tuple[int, ...]) -> int:
    words = np.random.SeedSequence(numbers).generate_state(6)
    random.seed(int(words[0]) << 32 | int(words[1]))
    np.random.seed(words[2:4])
    seed = int(words[4]) << 32 | int(words[5])
    # `torch.manual_seed` would also write down a stack trace for each device not in use.
    torch.default_generator.manual_seed(seed)
    return seed
