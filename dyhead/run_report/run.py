"""Runs `dyhead report`: reads runs, and writes a page, its pictures and its numbers."""

import logging
import os
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from dyhead.d2.config import CfgNode
from dyhead.errors import UserError
from dyhead.evaluation.run_folder import REPORT_FOLDER, read_run_config
from dyhead.output_folder import make_output_folder, write_errors
from dyhead.run_report.as_json import report_as_dict
from dyhead.run_report.collect import RunReport, collect_run
from dyhead.run_report.compare import compare
from dyhead.run_report.comparison_charts import comparison_charts
from dyhead.run_report.drawn_pictures import draw_examples
from dyhead.run_report.page import DrawnEvaluation, DrawnRun, format_page
from dyhead.run_report.run_charts import evaluation_charts, training_charts
from dyhead.run_report.written_pictures import earlier_pictures, write_pictures
from dyhead.safe_io.json_text import write_json
from dyhead.safe_io.save import write_text_atomically

PAGE_NAME, JSON_NAME = "report.html", "report.json"

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ReportSettings:
    """The options of a report.

    Attributes:
        runs: folders of runs; differences are from the first.
        output: folder for the page, its pictures and its numbers.
        with_data: look at the runs' data sets, too.
    """

    runs: Sequence[Path]
    output: Path
    with_data: bool = True


def write_report(settings: ReportSettings) -> list[RunReport]:
    """Write a report on runs.

    Raises:
        UserError: a folder is none of a run or is named twice, none holds anything to report, or
            the output folder cannot be written.
    """
    _refuse_repeated(settings.runs)
    configs = [read_run_config(folder) for folder in settings.runs]
    make_output_folder(settings.output, f"--output {settings.output}")
    with tempfile.TemporaryDirectory() as repaired:
        for cfg in configs:
            cfg.OUTPUT_DIR = repaired  # of data that needs repair: the runs stay as they are
        runs = []
        for name, folder, cfg in zip(names_of(settings.runs), settings.runs, configs, strict=True):
            logger.info("Reading %s", folder)
            runs.append(collect_run(name, folder, cfg, settings.with_data))
    if not any(run.log or run.evaluations for run in runs):
        raise UserError(f"There is nothing to report: {runs[0].missing[0]}")
    return _write(runs, settings.output)


def write_own_report(cfg: CfgNode) -> Path:
    """Write the report on the run of a config whose data sets are registered, into its folder.

    Args:
        cfg: of the run; its OUTPUT_DIR has been written.

    Returns:
        the page.
    """
    folder = Path(cfg.OUTPUT_DIR)
    output = folder / REPORT_FOLDER
    output.mkdir(parents=True, exist_ok=True)
    _write([collect_run(names_of([folder])[0], folder, cfg)], output)
    return output / PAGE_NAME


def _refuse_repeated(folders: Sequence[Path]) -> None:
    known: dict[Path, Path] = {}
    for folder in folders:
        path = folder.resolve()
        if path in known:
            raise UserError(f"{folder} is the same run as {known[path]}: name each run once.")
        known[path] = folder


def names_of(folders: Sequence[Path]) -> list[str]:
    """Name runs by their folders, those of the same name by as many above as tell them apart."""
    paths = [Path(os.path.abspath(folder)) for folder in folders]  # without ".." at the end
    names = [path.name for path in paths]
    for length in range(2, max(len(path.parts) for path in paths) + 1):
        number = Counter(names)
        names = [
            "/".join(path.parts[-length:]) if number[name] > 1 else name
            for path, name in zip(paths, names, strict=True)
        ]
    return names


def _write(runs: Sequence[RunReport], output: Path) -> list[RunReport]:
    """Write a report; returns the runs with what was found missing on the way."""
    comparison = compare(runs) if len(runs) > 1 else None
    drawn = [_draw(run, index, len(runs)) for index, run in enumerate(runs)]
    runs = [_with_unread(*pair) for pair in zip(runs, drawn, strict=True)]
    together = list(comparison_charts(runs, comparison.data)) if comparison else []
    with write_errors(f"The report in {output} cannot be written"):
        earlier = earlier_pictures(output / JSON_NAME)
        written = write_pictures(drawn, together, output)
        for name in earlier - set(written):
            (output / name).unlink(missing_ok=True)
        # without indentation: with thousands of classes it would double tens of megabytes
        write_json(report_as_dict(runs, comparison, written), output / JSON_NAME)
        page = format_page(runs, drawn, comparison, together)
        write_text_atomically(page, output / PAGE_NAME)
    return runs


def _draw(run: RunReport, index: int, num_runs: int) -> DrawnRun:
    prefix = f"run{index + 1}-" if num_runs > 1 else ""
    evaluations = {}
    for name, (files, measured) in run.evaluations.items():
        of_set = f"{prefix}{name}-" if len(run.evaluations) > 1 else prefix
        evaluations[name] = DrawnEvaluation(
            of_set,
            list(evaluation_charts(measured, of_set)),
            draw_examples(measured, files.picture_files),
        )
    return DrawnRun([] if run.log is None else list(training_charts(run.log, prefix)), evaluations)


def _with_unread(run: RunReport, drawn: DrawnRun) -> RunReport:
    """Name the pictures that could not be drawn among what is missing."""
    sentences = [
        f"Of the worst and best pictures of {dataset}, {', '.join(evaluation.examples.unread)}"
        " cannot be read and are left out: restore these files."
        for dataset, evaluation in drawn.evaluations.items()
        if evaluation.examples.unread
    ]
    return replace(run, missing=[*run.missing, *sentences])
