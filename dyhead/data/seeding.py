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
    seed = seed_cpu_generators(*numbers)
    if torch.cuda.is_initialized():
        torch.cuda.manual_seed_all(seed)
    if torch.backends.mps.is_available():
        torch.mps.manual_seed(seed)


def seed_cpu_generators(*numbers: int) -> int:
    """Seed the generators of Python, NumPy and torch's CPU as `seed_generators`; return a seed."""
    words = np.random.SeedSequence(numbers).generate_state(6)
    random.seed(int(words[0]) << 32 | int(words[1]))
    np.random.seed(words[2:4])
    seed = int(words[4]) << 32 | int(words[5])
    # `torch.manual_seed` would also write down a stack trace for each device not in use.
    torch.default_generator.manual_seed(seed)
    return seed


@contextmanager
def kept_generators() -> Iterator[None]:
    """Put the generators of Python, NumPy and torch's CPU back to where they were before."""
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.set_rng_state(states[2])
