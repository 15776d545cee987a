"""Compares runs: their numbers side by side, and their spread over seeds."""

import math
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dyhead.config.load import value_of
from dyhead.evaluation.measures.error_kinds import ErrorKind
from dyhead.run_report.collect import RunReport, cost_of
from dyhead.run_report.config_difference import compare_configs
from dyhead.run_report.evaluation import Evaluation

_OF_A_SEED = ("SEED",)


@dataclass(frozen=True)
class Row:
    """One number of every run; NaN where a run lacks it.

    Attributes:
        label: what it is.
        values: of the runs, in their order.
        is_better: 1 where more is better, -1 where less is.
        digits: behind the decimal point.
    """

    label: str
    values: Sequence[float]
    is_better: int = 1
    digits: int = 1

    @property
    def differences(self) -> list[float]:
        """The differences from the first run."""
        return [value - self.values[0] for value in self.values]


@dataclass(frozen=True)
class Spread:
    """Mean, sample standard deviation and range of one number over seeds."""

    label: str
    mean: float
    deviation: float
    low: float
    high: float
    digits: int


@dataclass(frozen=True)
class SeedGroup:
    """Runs whose configs differ in their seed alone, and the spread of their numbers."""

    names: Sequence[str]
    spreads: Sequence[Spread]


@dataclass(frozen=True)
class Comparison:
    """Runs side by side.

    Attributes:
        names: of the runs.
        rows: their numbers.
        keys: config keys in which they differ, with the values of all.
        groups: runs that differ in their seed alone.
    """

    names: Sequence[str]
    rows: Sequence[Row]
    keys: Sequence[tuple[str, Sequence[Any]]]
    groups: Sequence[SeedGroup]


def compare(runs: Sequence[RunReport]) -> Comparison:
    """Compare runs; differences are from the first one."""
    rows = [row for row in _rows(runs) if any(map(math.isfinite, row.values))]
    groups = [_group(members, runs, rows) for members in _same_but_for_seed(runs)]
    return Comparison([run.name for run in runs], rows, _differing_keys(runs), groups)


def _rows(runs: Sequence[RunReport]) -> Iterator[Row]:
    datasets = list(dict.fromkeys(name for run in runs for name in run.evaluations))
    for dataset in datasets:
        prefix = f"{dataset}: " if len(datasets) > 1 else ""
        evaluations = [run.evaluations.get(dataset, (None, None))[1] for run in runs]
        for label, read, is_better, digits in _MEASURES:
            values = [math.nan if each is None else read(each) for each in evaluations]
            yield Row(prefix + label, values, is_better, digits)
        yield from _class_rows(prefix, evaluations)
    yield Row("seconds per training step", [_seconds(run) for run in runs], -1, 3)
    for label, key, digits in _COSTS:
        values = [_number(cost_of(run), key) for run in runs]
        yield Row(label, values, -1, digits)


_Measure = tuple[str, Callable[[Evaluation], float], int, int]
_COSTS = (
    ("seconds per picture in testing", "seconds_per_image", 3),
    ("peak memory, GiB", "peak_memory_gib", 2),
)


def _score(metric: str) -> Callable[[Evaluation], float]:
    return lambda evaluation: evaluation.scores.overall[metric]


def _gain(kind: ErrorKind) -> Callable[[Evaluation], float]:
    return lambda evaluation: evaluation.costs.kinds[kind].gain


_MEASURES: tuple[_Measure, ...] = (
    *((m, _score(m), 1, 1) for m in ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR")),
    ("best F1", lambda evaluation: evaluation.joint_point.f1, 1, 3),
    *((f"AP50 lost to: {kind.label}", _gain(kind), -1, 1) for kind in ErrorKind),
    ("calibration error", lambda evaluation: evaluation.calibration.error, -1, 3),
)


def _class_rows(prefix: str, evaluations: Sequence[Evaluation | None]) -> Iterator[Row]:
    tables = [
        {}
        if each is None
        else {
            name: row["AP"]
            for name, row in zip(each.evaluated.class_names, each.scores.by_class, strict=True)
        }
        for each in evaluations
    ]
    for name in dict.fromkeys(name for table in tables for name in table):
        yield Row(f"{prefix}AP of {name}", [table.get(name, math.nan) for table in tables])


def _seconds(run: RunReport) -> float:
    return math.nan if run.log is None else run.log.seconds


def _number(cost: Mapping[str, Any], key: str) -> float:
    value = cost.get(key)
    return math.nan if value is None else float(value)


def _differing_keys(runs: Sequence[RunReport]) -> list[tuple[str, list[Any]]]:
    first = runs[0].cfg
    names = dict.fromkeys(
        name for run in runs[1:] for name, _, _ in compare_configs(first, run.cfg)
    )
    return [(name, [value_of(run.cfg, name) for run in runs]) for name in names]


def _same_but_for_seed(runs: Sequence[RunReport]) -> list[list[int]]:
    """Group the indices of runs whose configs say the same, but for the seed."""
    groups: list[list[int]] = []
    for index, run in enumerate(runs):
        for group in groups:
            found = {name for name, _, _ in compare_configs(runs[group[0]].cfg, run.cfg)}
            if found <= set(_OF_A_SEED):
                group.append(index)
                break
        else:
            groups.append([index])
    return [group for group in groups if len(group) > 1]


def _group(members: Sequence[int], runs: Sequence[RunReport], rows: Sequence[Row]) -> SeedGroup:
    spreads = []
    for row in rows:
        values = [row.values[i] for i in members if math.isfinite(row.values[i])]
        if len(values) > 1:
            mean, deviation = statistics.mean(values), statistics.stdev(values)
            spreads.append(Spread(row.label, mean, deviation, min(values), max(values), row.digits))
    return SeedGroup([runs[i].name for i in members], spreads)
