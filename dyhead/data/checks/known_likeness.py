"""Likeness of pictures as far as it is known, which tells what pairs are still worth comparing.

Of N frames of a standing camera N x N / 2 pairs are alike, and nearly all of them tell nothing new.
"""

from collections.abc import Sequence
from typing import Protocol

import numpy as np


class KnownLikeness(Protocol):
    """The questions that a comparison of pictures asks, and the answers that it gives."""

    def is_new(self, first: np.ndarray, second: np.ndarray) -> np.ndarray:
        """Return True for pairs that would tell something new if they were alike.

        Args:
            first: indices of pictures.
            second: the same; both are broadcast, and may come in either order.
        """
        ...

    def add(self, pairs: np.ndarray) -> None:
        """Take pairs of pictures that are alike, (P, 2)."""
        ...


class JoinedPictures:
    """Groups of pictures, each like another one of its group.

    Attributes:
        roots: (N,) the lowest index of each picture's group.
    """

    def __init__(self, number: int) -> None:
        self.roots = np.arange(number)

    def is_new(self, first: np.ndarray, second: np.ndarray) -> np.ndarray:
        """Return True for pairs of two groups."""
        return np.not_equal(self.roots[first], self.roots[second])

    def add(self, pairs: np.ndarray) -> None:
        """Join the groups of each pair."""
        while (apart := self.is_new(pairs[:, 0], pairs[:, 1])).any():
            ends = self.roots[pairs[apart]]
            np.minimum.at(self.roots, ends.max(axis=1), ends.min(axis=1))
            while (self.roots != self.roots[self.roots]).any():
                self.roots = self.roots[self.roots]


class LowestLike:
    """The lowest picture of each data set that a picture is like; equal pictures count as one.

    Args:
        groups: sorted indices of the pictures that each one stands for.
        sets: the number of the data set of each index; they rise.
    """

    def __init__(self, groups: Sequence[Sequence[int]], sets: Sequence[int]) -> None:
        shape = max(sets, default=0) + 1, len(groups)
        self._unknown = len(sets)
        self._own = np.full(shape, self._unknown, np.int32)
        for number, group in enumerate(groups):
            for index in reversed(group):
                self._own[sets[index], number] = index
        self._lowest = self._own.copy()
        for number, group in enumerate(groups):
            self._lowest[sets[group[-1]] + 1 :, number] = -1  # later sets are never asked for

    def is_new(self, first: np.ndarray, second: np.ndarray) -> np.ndarray:
        """Return True for pairs one of which has a lower picture for the other."""
        found = np.zeros(np.broadcast_shapes(first.shape, second.shape), bool)
        for own, lowest in zip(self._own, self._lowest, strict=True):
            found |= own[second] < lowest[first]
            found |= own[first] < lowest[second]
        return found

    def add(self, pairs: np.ndarray) -> None:
        """Note the lower pictures of each pair."""
        first, second = pairs.T
        for own, lowest in zip(self._own, self._lowest, strict=True):
            np.minimum.at(lowest, first, own[second])
            np.minimum.at(lowest, second, own[first])

    def of(self, number: int) -> list[int]:
        """Return the lowest picture of each set that one is like, or equals, in their order.

        Of sets behind its last one there is none.
        """
        return [index for index in self._lowest[:, number].tolist() if 0 <= index < self._unknown]
