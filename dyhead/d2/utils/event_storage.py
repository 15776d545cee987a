"""The storage of what happens during training: histories of scalars, and images.

The current storage is a stack: `with EventStorage(): ...` makes one current, and code anywhere
below puts its numbers there through `get_event_storage()`.
"""

from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import takewhile
from typing import Any

import torch
from fvcore.common.history_buffer import HistoryBuffer

_storages: list["EventStorage"] = []


def get_event_storage() -> "EventStorage":
    """Return the storage in use.

    Raises:
        RuntimeError: there is none.
    """
    if not _storages:
        raise RuntimeError("There is no event storage: call this inside `with EventStorage():`.")
    return _storages[-1]


def has_event_storage() -> bool:
    """Return whether a storage is in use."""
    return bool(_storages)


class EventStorage:
    """History of named scalars, and images that wait to be written."""

    def __init__(self, start_iter: int = 0) -> None:
        """Start empty, at an iteration."""
        self._iter = start_iter
        self._histories: dict[str, HistoryBuffer] = defaultdict(HistoryBuffer)
        self._smoothing_hints: dict[str, bool] = {}
        self._latest: dict[str, tuple[float, int]] = {}
        self._images: list[tuple[str, torch.Tensor, int]] = []
        self._prefix = ""

    def put_image(self, img_name: str, img_tensor: torch.Tensor) -> None:
        """Keep an image for the writers.

        Args:
            img_name: name, shown by TensorBoard.
            img_tensor: (3, H, W), RGB; uint8 in [0, 255] or float in [0, 1].
        """
        self._images.append((img_name, img_tensor, self._iter))

    def clear_images(self) -> None:
        """Forget the images; called once they are written."""
        self._images = []

    @property
    def images(self) -> list[tuple[str, torch.Tensor, int]]:
        """Name, tensor and iteration of each image that is not written yet."""
        return self._images

    def put_scalar(
        self, name: str, value: Any, smoothing_hint: bool = True, cur_iter: int | None = None
    ) -> None:
        """Add a number to the history of its name.

        Args:
            name: the scalar's name; the current name scope goes before it.
            value: anything that float() takes.
            smoothing_hint: whether writers should show a median over recent iterations; it has to
                be the same on every call for one name.
            cur_iter: the iteration that the number belongs to; None for the current one.

        Raises:
            ValueError: `smoothing_hint` differs from that of an earlier call.
        """
        name = self._prefix + name
        cur_iter = self._iter if cur_iter is None else cur_iter
        if self._smoothing_hints.setdefault(name, smoothing_hint) != smoothing_hint:
            raise ValueError(f"The scalar {name} was put with smoothing_hint={not smoothing_hint}.")
        value = float(value)
        self._histories[name].update(value, cur_iter)
        self._latest[name] = (value, cur_iter)

    def put_scalars(
        self, *, smoothing_hint: bool = True, cur_iter: int | None = None, **kwargs: Any
    ) -> None:
        """Add several numbers, given by their names, as `put_scalar` does."""
        for name, value in kwargs.items():
            self.put_scalar(name, value, smoothing_hint=smoothing_hint, cur_iter=cur_iter)

    def history(self, name: str) -> HistoryBuffer:
        """Return the history of a scalar.

        Raises:
            KeyError: it was never put.
        """
        if name not in self._histories:
            raise KeyError(f"No scalar {name} was put into the event storage.")
        return self._histories[name]

    def histories(self) -> dict[str, HistoryBuffer]:
        """Return the history of every scalar."""
        return self._histories

    def latest(self) -> dict[str, tuple[float, int]]:
        """Return the last value of every scalar, with its iteration."""
        return self._latest

    def latest_with_smoothing_hint(self, window_size: int = 20) -> dict[str, tuple[float, int]]:
        """Return as `latest`, but the median of recent values where the hint asks for it.

        Args:
            window_size: how many iterations back are recent.
        """
        return {
            name: (self._recent_median(name, window_size), iteration)
            if self._smoothing_hints[name]
            else (value, iteration)
            for name, (value, iteration) in self._latest.items()
        }

    def _recent_median(self, name: str, window_size: int) -> float:
        return self._histories[name].median(self.count_samples(name, window_size))

    def count_samples(self, name: str, window_size: int = 20) -> int:
        """Return how many values a scalar has in the `window_size` iterations up to its last."""
        values = self.history(name).values()
        first = values[-1][1] - window_size + 1
        return sum(1 for _ in takewhile(lambda item: item[1] >= first, reversed(values)))

    def smoothing_hints(self) -> dict[str, bool]:
        """Return the smoothing hint of every scalar."""
        return self._smoothing_hints

    def step(self) -> None:
        """Go to the next iteration; the trainer calls it at the end of each."""
        self._iter += 1

    @property
    def iter(self) -> int:
        """The current iteration."""
        return self._iter

    @iter.setter
    def iter(self, value: int) -> None:
        self._iter = int(value)

    @property
    def iteration(self) -> int:
        """The current iteration."""
        return self._iter

    @contextmanager
    def name_scope(self, name: str) -> Iterator[None]:
        """Put "name/" before the name of every scalar that is put inside this context."""
        outer, self._prefix = self._prefix, name.rstrip("/") + "/"
        try:
            yield
        finally:
            self._prefix = outer

    def __enter__(self) -> "EventStorage":
        """Become the current storage."""
        _storages.append(self)
        return self

    def __exit__(self, exc_type: Any, exc_val: Any, exc_tb: Any) -> None:
        """Give way to the storage that was current before."""
        _storages.pop()
