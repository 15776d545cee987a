"""Puts off the opening of a run's files until there is something to write."""

from collections.abc import Callable, Sequence

from dyhead.d2.utils.events import EventWriter


class LateWriters(EventWriter):
    """Writers that are built with the first write: a run that is refused opens no file.

    Args:
        build: builds the writers.
    """

    def __init__(self, build: Callable[[], Sequence[EventWriter]]) -> None:
        self._build = build
        self._writers: Sequence[EventWriter] | None = None

    def write(self) -> None:
        """Let every writer write."""
        if self._writers is None:
            self._writers = self._build()
        for writer in self._writers:
            writer.write()

    def close(self) -> None:
        """Close the writers that were built."""
        for writer in self._writers or ():
            writer.close()
