"""Writes the pictures of a report as PNG files, and knows those of an earlier report."""

import re
from collections.abc import Sequence
from pathlib import Path

from dyhead.data.sources.json_file import read_json
from dyhead.errors import UserError
from dyhead.run_report.charts import Chart, write_png
from dyhead.run_report.page import DrawnRun

_FILE_NAME = re.compile(r"[\w.-]+\.png")  # of a file beside the report: no path to elsewhere


def write_pictures(drawn: Sequence[DrawnRun], together: Sequence[Chart], output: Path) -> list[str]:
    """Write the pictures of a report.

    Args:
        drawn: of each run.
        together: charts of several runs.
        output: the folder.

    Returns:
        the names of the files.

    Raises:
        OSError: a file cannot be written.
    """
    names = _FileNames()
    charts = [*together]
    for run in drawn:
        charts += run.training
        for evaluation in run.evaluations.values():
            charts += evaluation.charts
            examples = evaluation.examples
            for kind, pictures in (("worst", examples.worst), ("best", examples.best)):
                for number, picture in enumerate(pictures, start=1):
                    name = names.take(f"{evaluation.prefix}{kind}-{number}")
                    picture.joined().save(output / name)
    for chart in charts:
        write_png(chart, output / names.take(chart.name))
    return sorted(names.taken)


class _FileNames:
    """Chooses names of PNG files that differ on any disk, be it one where A is a."""

    def __init__(self) -> None:
        self.taken: list[str] = []
        self._folded: set[str] = set()

    def take(self, name: str) -> str:
        """Return a name without what that of a data set may have and a file's may not."""
        plain = chosen = re.sub(r"[^\w.-]+", "-", name)
        number = 1
        while chosen.casefold() in self._folded:
            number += 1
            chosen = f"{plain}-{number}"
        self._folded.add(chosen.casefold())
        self.taken.append(f"{chosen}.png")
        return self.taken[-1]


def earlier_pictures(report: Path) -> set[str]:
    """Return the pictures that an earlier report.json names, of those that lie beside it.

    Anybody may have written that file: what is no plain name of a PNG is passed over.
    """
    try:
        content = read_json(report)
    except UserError:  # none is there, or it is broken
        return set()
    named = content.get("pictures") if isinstance(content, dict) else None
    return {
        name
        for name in (named if isinstance(named, list) else ())
        if isinstance(name, str) and _FILE_NAME.fullmatch(name) and (report.parent / name).is_file()
    }
