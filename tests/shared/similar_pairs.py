"""All pairs of thumbnails that are nearly the same: what no run needs, but tests compare with."""

import numpy as np

from dyhead.data.checks.similar_pictures import find_similar


class _AllPairs:
    """Takes every pair that is alike; each one is new."""

    def __init__(self) -> None:
        self.pairs: list[tuple[int, int]] = []

    def is_new(self, first: np.ndarray, second: np.ndarray) -> np.ndarray:
        return np.ones(np.broadcast_shapes(first.shape, second.shape), bool)

    def add(self, pairs: np.ndarray) -> None:
        self.pairs += [(first, second) for first, second in pairs.tolist()]


def similar_pairs(thumbnails: np.ndarray) -> list[tuple[int, int]]:
    """Return all pairs of indices, the lower one first."""
    known = _AllPairs()
    find_similar(thumbnails, known)
    return known.pairs
