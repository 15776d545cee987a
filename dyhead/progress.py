"""Shows the progress of a run: a bar on a terminal, a line now and then elsewhere."""

import sys
import time
from datetime import timedelta
from typing import Any, TextIO

from tqdm import tqdm

_SECONDS_BETWEEN_LINES = 10.0


class Progress:
    """Counts pictures, and shows their number per second and the time that is left.

    Args:
        total: how many there will be; None where unknown. It may be set later too.
        what: what is counted through, such as the name of a video.
        stream: stderr by default.
    """

    def __init__(
        self, total: int | None, what: str | None = None, stream: TextIO | None = None
    ) -> None:
        self._stream = stream or sys.stderr
        self._what = f"{what}: " if what else ""
        self._total = total
        self._count = 0
        self._start = self._last = time.monotonic()
        self._bar: Any = None
        if self._stream.isatty():
            self._bar = tqdm(
                total=total, desc=what, unit=" pictures", file=self._stream, dynamic_ncols=True
            )

    @property
    def total(self) -> int | None:
        """The number of pictures that there will be; None where unknown."""
        return self._total

    @total.setter
    def total(self, total: int | None) -> None:
        self._total = total
        if self._bar is not None:
            self._bar.total = total
            self._bar.refresh()

    def advance(self, pictures: int = 1) -> None:
        """Count pictures."""
        self._count += pictures
        if self._bar is not None:
            self._bar.update(pictures)
        elif (now := time.monotonic()) - self._last >= _SECONDS_BETWEEN_LINES:
            self._last = now
            self.say(self._line(now - self._start))

    def say(self, text: str) -> None:
        """Print a line; a bar stays below it."""
        if self._bar is not None:
            self._bar.write(text, file=self._stream)
        else:
            print(text, file=self._stream, flush=True)

    def close(self) -> None:
        """Leave a bar as it is."""
        if self._bar is not None:
            self._bar.close()

    def _line(self, seconds: float) -> str:
        rate = self._count / seconds
        counted = f"{self._count} of {self._total}" if self._total else f"{self._count}"
        line = f"{self._what}{counted} pictures, {rate:.3g} per second"
        if self._total:
            left = timedelta(seconds=round(max(self._total - self._count, 0) / rate))
            line += f", {left} left"
        return line
