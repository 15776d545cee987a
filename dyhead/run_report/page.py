"""Writes a report on runs as one page of HTML that needs nothing beside itself."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from dyhead import __version__
from dyhead.evaluation.measures.error_kinds import MEANINGS
from dyhead.pages import as_data_uri, render_page
from dyhead.run_report.charts import Chart, as_svg
from dyhead.run_report.collect import RunReport
from dyhead.run_report.compare import Comparison
from dyhead.run_report.compared_rows import Row
from dyhead.run_report.config_difference import ConfigDifference
from dyhead.run_report.definitions import DEFINITIONS
from dyhead.run_report.drawn_pictures import DrawnPicture, Examples
from dyhead.run_report.evaluation import Evaluation
from dyhead.run_report.evaluation_files import EvaluationFiles
from dyhead.run_report.run_charts import frequent_confusions
from dyhead.run_report.training_log import TrainingLog

_METRICS = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR")
_NOT_KNOWN = "–"


@dataclass(frozen=True)
class DrawnEvaluation:
    """The pictures of an evaluation, and what the names of their files begin with."""

    prefix: str
    charts: Sequence[Chart]
    examples: Examples


@dataclass(frozen=True)
class DrawnRun:
    """The pictures of a run: of its training, and of each evaluation by its data set."""

    training: Sequence[Chart]
    evaluations: dict[str, DrawnEvaluation]


def format_page(
    runs: Sequence[RunReport],
    drawn: Sequence[DrawnRun],
    comparison: Comparison | None,
    comparison_charts: Sequence[Chart],
) -> str:
    """Write the page.

    Args:
        runs: at least one.
        drawn: what was drawn of each.
        comparison: of several runs.
        comparison_charts: of several runs.
    """
    shown = [
        _run(run, pictures, index)
        for index, (run, pictures) in enumerate(zip(runs, drawn, strict=True))
    ]
    return render_page(
        "dyhead.run_report",
        title=", ".join(run.name for run in runs),
        version=__version__,
        runs=shown,
        comparison=None if comparison is None else _comparison(comparison),
        comparison_charts=_svgs(comparison_charts),
        definitions=DEFINITIONS,
        sections=list(_sections(shown, comparison is not None)),
    )


def _run(run: RunReport, drawn: DrawnRun, index: int) -> dict[str, Any]:
    return {
        "name": run.name,
        "anchor": f"run-{index}",
        "facts": list(_facts(run)),
        "missing": run.missing,
        "health": run.health,
        "base": run.difference.base,
        "base_is": _base_is(run.difference),
        "keys": run.difference.keys,
        "training": _svgs(drawn.training),
        "evaluations": [
            _evaluation(files, measured, drawn.evaluations[name], f"run-{index}-{number}")
            for number, (name, (files, measured)) in enumerate(run.evaluations.items())
        ],
    }


def _base_is(difference: ConfigDifference) -> str:
    """Say what makes a packaged config the one to compare with."""
    if difference.is_recorded:
        is_own = difference.file == f"configs/{difference.base}.yaml"
        return "made from" if is_own else f"made from by way of {difference.file}"
    if difference.file:
        return f"nearest to; its file {difference.file} stands on none of them"
    return "nearest to; its config.yaml does not say what it was made from"


def _facts(run: RunReport) -> Iterator[tuple[str, str]]:
    yield "folder", str(run.path)
    yield "detector", str(run.cfg.MODEL.META_ARCHITECTURE)
    if run.log is not None:
        yield "steps", f"{run.log.steps:,}, of {run.cfg.SOLVER.IMS_PER_BATCH} pictures each"
        if math.isfinite(run.log.seconds):
            yield "training", _speed(run.log)
    for name, (files, _) in run.evaluations.items():
        yield from _cost(files.cost, f" on {name}" if len(run.evaluations) > 1 else "")


def _cost(cost: Mapping[str, Any], of_set: str) -> Iterator[tuple[str, str]]:
    device = cost.get("device", "device not known")
    if (seconds := cost.get("seconds_per_image")) is not None:
        yield f"testing{of_set}", f"{seconds:.3f} s per picture, reading it included ({device})"
    if (gibibytes := cost.get("peak_memory_gib")) is not None:
        where = "of the GPU" if device == "cuda" else "of the process"
        yield f"peak memory{of_set}", f"{gibibytes:.2f} GiB {where}"


def _speed(log: TrainingLog) -> str:
    is_known = math.isfinite(log.data_seconds)
    waiting = f" ({log.data_seconds:.3f} s of them waiting for data)" if is_known else ""
    return f"{log.seconds:.3f} s a step{waiting}, {log.pictures_per_second:.3g} pictures per second"


def _evaluation(
    files: EvaluationFiles, measured: Evaluation, drawn: DrawnEvaluation, anchor: str
) -> dict[str, Any]:
    return {
        "name": files.dataset,
        "folder": files.folder,
        "anchor": anchor,
        "pictures": len(measured.evaluated.pictures),
        "objects": int(measured.num_objects.sum()),
        "scores": [(metric, _percent(measured.scores.overall[metric])) for metric in _METRICS],
        "best": measured.joint_point,
        "metrics": _METRICS,
        "classes": list(_class_rows(measured)),
        "charts": _svgs(drawn.charts),
        "errors": list(_error_rows(measured)),
        "ap50": _percent(measured.costs.ap50),
        "confusions": frequent_confusions(measured),
        "worst": _pictures(drawn.examples.worst),
        "best_pictures": _pictures(drawn.examples.best),
    }


def _class_rows(measured: Evaluation) -> Iterator[list[str]]:
    for index, name in enumerate(measured.evaluated.class_names):
        point = measured.points[index]
        yield [
            name,
            f"{measured.num_objects[index]:,}",
            *(_percent(measured.scores.by_class[index][metric]) for metric in _METRICS),
            _share(point.threshold if math.isfinite(point.f1) else math.nan),
            _share(point.f1),
            _share(point.precision),
            _share(point.recall),
        ]


def _error_rows(measured: Evaluation) -> Iterator[list[str]]:
    costs = measured.costs
    for kind, cost in costs.kinds.items():
        yield [kind.label, MEANINGS[kind], f"{cost.count:,}", _percent(cost.gain)]
    for name, meaning, cost in (
        ("false positives", "all detections that find no object", costs.false_positives),
        ("false negatives", "all objects that are not found", costs.false_negatives),
    ):
        yield [name, meaning, f"{cost.count:,}", _percent(cost.gain)]


def _comparison(comparison: Comparison) -> dict[str, Any]:
    return {
        "names": comparison.names,
        "doubts": comparison.doubts,
        "rows": [
            (row.label, [_cell(row, index) for index in range(len(row.values))])
            for row in comparison.rows
        ],
        "keys": comparison.keys,
        "groups": [
            {
                "names": group.names,
                "rows": [
                    (
                        each.label,
                        str(each.number),
                        f"{each.mean:.{each.digits}f}",
                        f"{each.deviation:.{each.digits + 1}f}",
                        f"{each.low:.{each.digits}f} to {each.high:.{each.digits}f}",
                    )
                    for each in group.spreads
                ],
            }
            for group in comparison.groups
        ],
    }


def _cell(row: Row, index: int) -> tuple[str, str, str]:
    """Return a value, its difference from the first run, and if that is better or worse."""
    value, difference = row.values[index], row.differences[index]
    if not math.isfinite(value):
        return _NOT_KNOWN, "", ""
    text = f"{value:.{row.digits}f}"
    if index == 0 or not math.isfinite(difference):
        return text, "", ""
    rounded = f"{difference:+.{row.digits}f}"
    if not float(rounded):
        return text, "±0", ""
    return text, rounded, "better" if difference * row.is_better > 0 else "worse"


def _svgs(charts: Sequence[Chart]) -> list[dict[str, Any]]:
    # Markup: the charts' own text was escaped when matplotlib wrote it
    return [{"svg": Markup(as_svg(chart)), "caption": chart.caption} for chart in charts]


def _pictures(drawn: Sequence[DrawnPicture]) -> list[dict[str, Any]]:
    return [
        {"images": [as_data_uri(each.truth), as_data_uri(each.found)], "caption": each.caption}
        for each in drawn
    ]


def _sections(runs: Sequence[dict[str, Any]], is_compared: bool) -> Iterator[tuple[str, str]]:
    if is_compared:
        yield "comparison", "Side by side"
    for run in runs:
        prefix = f"{run['name']}: " if len(runs) > 1 else ""
        for evaluation in run["evaluations"]:
            yield evaluation["anchor"], f"{prefix}scores on {evaluation['name']}"
        yield f"{run['anchor']}-training", f"{prefix}training"
        yield f"{run['anchor']}-config", f"{prefix}config"
        if run["health"]:
            yield f"{run['anchor']}-data", f"{prefix}data"
    yield "definitions", "Definitions"


def _percent(value: float) -> str:
    return f"{value:.1f}" if math.isfinite(value) else _NOT_KNOWN


def _share(value: float) -> str:
    return f"{value:.2f}" if math.isfinite(value) else _NOT_KNOWN
