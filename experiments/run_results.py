"""The result of a run, as plain values in a file of its folder."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dyhead.errors import UserError
from dyhead.safe_io.json_text import write_json

DONE = "run.json"

Result = dict[str, Any]


def result_in(folder: Path) -> Result | None:
    """Return the result of a run that is complete, None of another one."""
    path = folder / DONE
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


def restore_result(folder: Path, result: Result) -> None:
    """Take a run as complete whose result was written elsewhere, unless its folder has one."""
    if not (folder / DONE).is_file():
        folder.mkdir(parents=True, exist_ok=True)
        write_json(result, folder / DONE, indent=1)


def refuse_other_settings(path: Path, known: Mapping[str, Any], own: Mapping[str, Any]) -> None:
    """Refuse to go on from results of earlier calls that do not compare with those of this one.

    Args:
        path: the file of the results.
        known: settings of the earlier calls.
        own: what has to be the same in this call.

    Raises:
        UserError: it is not.
    """
    for key, value in own.items():
        before = known.get(key, "")
        if before != value:
            raise UserError(
                f"{path} holds runs with {key} {before!r}, not {value!r}: give these another"
                " --name."
            )


def scores_line(result: Result) -> str:
    """Say AP, AP50 and the minutes of a result."""
    scores = (f"{key} {number(result.get(key))}" for key in ("AP", "AP50"))
    return f"{', '.join(scores)}, {result['seconds'] / 60:.1f} min"


def number(value: float | None, form: str = ".1f") -> str:
    """Format a score; one that is not defined is empty."""
    return "" if value is None else format(value, form)
