"""Writes the pictures of a report as PNG files, and knows those of an earlier report."""

import re
from collections.abc import Sequence
from pathlib import Path

from dyhead.data.sources.json_file import read_json
from dyhead.errors import UserError
from dyhead.run_report.charts import Chart, write_png
from dyhead.run_report.drawn_pictures import DrawnPicture
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
    names = []
    charts = [*together]
    for run in drawn:
        charts += run.training
        for evaluation in run.evaluations.values():
            charts += evaluation.charts
            examples = evaluation.examples
            names += _write_examples(examples.worst, output, f"{evaluation.prefix}worst")
            names += _write_examples(examples.best, output, f"{evaluation.prefix}best")
    for chart in charts:
        names.append(_file_name(chart.name))
        write_png(chart, output / names[-1])
    return sorted(names)


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


def _write_examples(pictures: Sequence[DrawnPicture], output: Path, name: str) -> list[str]:
    names = [_file_name(f"{name}-{number}") for number in range(1, len(pictures) + 1)]
    for picture, file_name in zip(pictures, names, strict=True):
        picture.joined().save(output / file_name)
    return names


def _file_name(name: str) -> str:
    """Return the name of a PNG, without what a data set's name may have and a file's may not."""
    return re.sub(r"[^\w.-]+", "-", name) + ".png"
