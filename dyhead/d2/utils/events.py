"""Writers of what the event storage holds: the log, a JSON file, TensorBoard."""

import datetime
import logging
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch

from dyhead.safe_io.json_text import ScalarLines

from .event_storage import EventStorage, get_event_storage, has_event_storage

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


class EventWriter(ABC):
    """Base of the writers: reads the current storage and puts it somewhere."""

    @abstractmethod
    def write(self) -> None:
        """Write what is new."""

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
    """Appends one JSON object per iteration, a line each: its scalars and "iteration".

    The lines are strict JSON: NaN is written as null (Detectron2 writes NaN).
    """

    def __init__(self, json_file: str, window_size: int = 20) -> None:
        """Open a file for appending.

        Args:
            json_file: its path; a file of an earlier run is continued.
            window_size: iterations over which scalars are smoothed.
        """
        self._lines = ScalarLines(json_file)
        self._window_size = window_size

    def write(self) -> None:
        """Append what is new, and have it on the disk when this returns."""
        self._lines.append(get_event_storage().latest_with_smoothing_hint(self._window_size))

    def close(self) -> None:
        """Close the file."""
        self._lines.close()


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
