"""What happens during training: the storage of scalars and images, and their writers.

The current storage is a stack: `with EventStorage(): ...` makes one current, and code anywhere
below puts its numbers there through `get_event_storage()`.
"""

import datetime
import json
import logging
import os
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from itertools import takewhile
from typing import TYPE_CHECKING, Any

import torch
from fvcore.common.history_buffer import HistoryBuffer

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

__all__ = [
    "CommonMetricPrinter",
    "EventStorage",
    "EventWriter",
    "JSONWriter",
    "TensorboardXWriter",
    "get_event_storage",
    "has_event_storage",
]

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


class EventWriter:
    """Base of the writers: reads the current storage and puts it somewhere."""

    def write(self) -> None:
        """Write what is new."""
        raise NotImplementedError

    def close(self) -> None:  # noqa: B027 (most writers have nothing to close)
        """Release files; called once, after the last `write`."""


class _NewScalars:
    """Gives each value of the storage once: those later than the last ones given."""

    def __init__(self, window_size: int) -> None:
        self._window_size = window_size
        self._last_iteration = -1

    def take(self, storage: EventStorage) -> list[tuple[str, float, int]]:
        latest = storage.latest_with_smoothing_hint(self._window_size)
        new = [(name, *item) for name, item in latest.items() if item[1] > self._last_iteration]
        self._last_iteration = max([self._last_iteration, *(item[2] for item in new)])
        return new


class JSONWriter(EventWriter):
    """Appends one JSON object per iteration, a line each: its scalars and "iteration"."""

    def __init__(self, json_file: str, window_size: int = 20) -> None:
        """Open a file for appending.

        Args:
            json_file: its path; a file of an earlier run is continued.
            window_size: iterations over which scalars are smoothed.
        """
        _end_last_line(json_file)
        self._file = open(json_file, "a")  # noqa: SIM115 (stays open until close)
        self._new_scalars = _NewScalars(window_size)

    def write(self) -> None:
        """Append what is new, and have it on the disk when this returns."""
        lines: dict[int, dict[str, float]] = defaultdict(dict)
        for name, value, iteration in self._new_scalars.take(get_event_storage()):
            lines[iteration][name] = value
        for iteration, scalars in sorted(lines.items()):
            self._file.write(json.dumps(scalars | {"iteration": iteration}, sort_keys=True) + "\n")
        self._file.flush()
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _end_last_line(path: str) -> None:
    """Keep a line that a killed run left unfinished from swallowing the first new one."""
    if not os.path.isfile(path) or os.path.getsize(path) == 0:
        return
    with open(path, "rb+") as file:
        file.seek(-1, os.SEEK_END)
        if file.read(1) != b"\n":
            file.write(b"\n")


class TensorboardXWriter(EventWriter):
    """Writes scalars and images as TensorBoard events."""

    def __init__(self, log_dir: str, window_size: int = 20, **kwargs: Any) -> None:
        """Remember where to write; the files are made on the first write.

        Args:
            log_dir: folder of the event files.
            window_size: iterations over which scalars are smoothed.
            kwargs: passed on to torch.utils.tensorboard.SummaryWriter.
        """
        self._writer_arguments = {"log_dir": log_dir, **kwargs}
        self._new_scalars = _NewScalars(window_size)

    @cached_property
    def _writer(self) -> "SummaryWriter":
        # TensorBoard takes about a second to import: not before it is used.
        from torch.utils.tensorboard import SummaryWriter

        return SummaryWriter(**self._writer_arguments)

    def write(self) -> None:
        """Write what is new."""
        storage = get_event_storage()
        for name, value, iteration in self._new_scalars.take(storage):
            self._writer.add_scalar(name, value, iteration)
        for name, image, iteration in storage.images:
            self._writer.add_image(name, image, iteration)
        storage.clear_images()

    def close(self) -> None:
        """Close the event file, if one was opened."""
        if "_writer" in self.__dict__:
            self._writer.close()


class CommonMetricPrinter(EventWriter):
    """Logs losses, times, learning rate and memory, with the time that is left, in one line."""

    def __init__(self, max_iter: int | None = None, window_size: int = 20) -> None:
        """Prepare to print.

        Args:
            max_iter: number of iterations, for the time that is left; None leaves it out.
            window_size: iterations over which losses and times are smoothed.
        """
        self.logger = logging.getLogger("detectron2.utils.events")
        self._max_iter = max_iter
        self._window_size = window_size
        self._last_write: tuple[int, float] | None = None

    def write(self) -> None:
        """Log one line; nothing more once training is finished."""
        storage = get_event_storage()
        if storage.iter == self._max_iter:
            return
        seconds_left = self._seconds_left(storage)
        parts = [
            "" if seconds_left is None else f"eta: {datetime.timedelta(seconds=int(seconds_left))}",
            f"iter: {storage.iter}",
            self._medians(storage, "loss"),
            self._medians(storage, "[metric]"),
            *self._times(storage),
            self._learning_rate(storage.latest()),
            self._memory(),
        ]
        self.logger.info(" " + "  ".join(part for part in parts if part))

    def _seconds_left(self, storage: EventStorage) -> float | None:
        if self._max_iter is None:
            return None
        iterations = self._max_iter - storage.iter - 1
        if "time" in storage.histories():
            seconds = storage.history("time").median(1000) * iterations
            storage.put_scalar("eta_seconds", seconds, smoothing_hint=False)
            return seconds
        return self._seconds_left_by_clock(storage.iter, iterations)

    def _seconds_left_by_clock(self, iteration: int, iterations: int) -> float | None:
        """Estimate from the time since the last line, where no hook measures iterations."""
        now = time.perf_counter()
        last, self._last_write = self._last_write, (iteration, now)
        if last is None or iteration == last[0]:
            return None
        return (now - last[1]) / (iteration - last[0]) * iterations

    def _medians(self, storage: EventStorage, part_of_name: str) -> str:
        return "  ".join(
            f"{name}: {history.median(storage.count_samples(name, self._window_size)):.4g}"
            for name, history in storage.histories().items()
            if part_of_name in name
        )

    def _times(self, storage: EventStorage) -> Iterator[str]:
        for name in ("time", "data_time"):
            if name in storage.histories():
                history = storage.history(name)
                average = history.avg(storage.count_samples(name, self._window_size))
                yield f"{name}: {average:.4f}  last_{name}: {history.latest():.4f}"

    def _learning_rate(self, latest: Mapping[str, tuple[float, int]]) -> str:
        return f"lr: {latest['lr'][0]:.5g}" if "lr" in latest else ""

    def _memory(self) -> str:
        if not torch.cuda.is_available():
            return ""
        return f"max_mem: {torch.cuda.max_memory_allocated() / 2**20:.0f}M"
