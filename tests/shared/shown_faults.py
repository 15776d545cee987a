"""Records what a test has shown of a fault, for the table of docs/reliability.md."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

COLUMNS = ("clear", "survived", "nothing_lost")


class ShownFault:
    """Records what a test has shown of its fault, each part by a block of assertions that hold.

    Attributes:
        record: the fault's name, how often it was tried, and for each of COLUMNS whether it has
            been shown. Plain, as pytest's reports need it.
    """

    def __init__(self, name: str) -> None:
        self.record: dict[str, Any] = {"name": name, "tried": 1, **dict.fromkeys(COLUMNS, False)}

    @property
    def missing(self) -> list[str]:
        """The columns that have not been shown."""
        return [column for column in COLUMNS if not self.record[column]]

    def tried(self, times: int) -> None:
        """Count the repetitions within the test."""
        self.record["tried"] = times

    @contextmanager
    def clear(self) -> Iterator[None]:
        """Assert within that a user is told what has happened, or where it goes on."""
        with self._showing("clear"):
            yield

    @contextmanager
    def survived(self) -> Iterator[None]:
        """Assert within that nothing crashes, hangs or is left over, and that work can go on."""
        with self._showing("survived"):
            yield

    @contextmanager
    def nothing_lost(self) -> Iterator[None]:
        """Assert within that what was there before the fault is there afterwards."""
        with self._showing("nothing_lost"):
            yield

    @contextmanager
    def _showing(self, column: str) -> Iterator[None]:
        self.record[column] = False
        yield
        self.record[column] = True
