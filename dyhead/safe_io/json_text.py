"""Writes JSON that every reader takes: RFC 8259 has neither NaN nor infinity."""

import json
import math
import os
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from dyhead.safe_io.save import write_text_atomically


def strict_json(content: Any, indent: int | None = None, sort_keys: bool = False) -> str:
    """Encode plain containers as JSON; numbers that are not finite become null.

    Args:
        content: dicts, lists, text, numbers, None.
        indent: as in `json.dumps`.
        sort_keys: as in `json.dumps`.
    """
    try:
        return json.dumps(content, indent=indent, sort_keys=sort_keys, allow_nan=False)
    except ValueError:  # rare: to look for such numbers first takes longer than writing
        finite = _finite(content)
        return json.dumps(finite, indent=indent, sort_keys=sort_keys, allow_nan=False)


def _finite(content: Any) -> Any:
    if isinstance(content, Mapping):
        return {key: _finite(value) for key, value in content.items()}
    if isinstance(content, (list, tuple)):
        return [_finite(value) for value in content]
    return None if isinstance(content, float) and not math.isfinite(content) else content


def write_json(content: Any, path: str | os.PathLike[str], indent: int | None = None) -> None:
    """Write `strict_json` of `content` to a file, atomically.

    Raises:
        OSError: the folder is missing, or the disk is full; an older file stays as it was.
    """
    write_text_atomically(strict_json(content, indent) + "\n", path)


class ScalarLines:
    """A file of scalars by iteration: one JSON object with "iteration" per line."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """Open a file for appending; one of an earlier run is continued."""
        _end_last_line(path)
        self._file = open(path, "a", encoding="utf-8")  # noqa: SIM115 (stays open until close)
        self._last_iteration = -1

    def resume(self, iteration: int) -> None:
        """Say by a line without scalars that iterations after this one are done anew."""
        self._file.write(strict_json({"iteration": iteration}) + "\n")

    def append(self, latest: Mapping[str, tuple[float, int]]) -> None:
        """Append the scalars later than those of the last call, and have them on the disk.

        Args:
            latest: name -> value and iteration.
        """
        lines: dict[int, dict[str, float]] = defaultdict(dict)
        for name, (value, iteration) in latest.items():
            if iteration > self._last_iteration:
                lines[iteration][name] = value
        for iteration, scalars in sorted(lines.items()):
            self._file.write(strict_json(scalars | {"iteration": iteration}, sort_keys=True) + "\n")
        self._last_iteration = max([self._last_iteration, *lines])
        self._file.flush()
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _end_last_line(path: str | os.PathLike[str]) -> None:
    """Keep a line that a killed run left unfinished from swallowing the first new one."""
    if not os.path.isfile(path) or os.path.getsize(path) == 0:
        return
    with open(path, "rb+") as file:
        file.seek(-1, os.SEEK_END)
        if file.read(1) != b"\n":
            file.write(b"\n")
