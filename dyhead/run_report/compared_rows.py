"""Sets the numbers of runs side by side, and compares those that measure the same."""

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dyhead.evaluation.measures.error_kinds import ErrorKind
from dyhead.run_report.collect import RunReport
from dyhead.run_report.data_of_runs import DataOfRuns
from dyhead.run_report.evaluation import Evaluation


@dataclass(frozen=True)
class Row:
    """One number of every run; NaN where a run lacks it.

    Attributes:
        label: what it is.
        values: of the runs, in their order.
        bases: what each value was measured on, data and device; values of unequal ones do not
            compare.
        is_better: 1 where more is better, -1 where less is.
        digits: behind the decimal point.
    """

    label: str
    values: Sequence[float]
    bases: Sequence[Any]
    is_better: int = 1
    digits: int = 1

    @property
    def differences(self) -> list[float]:
        """The differences from the first run; NaN where the two do not compare."""
        return [
            value - self.values[0] if basis == self.bases[0] else math.nan
            for value, basis in zip(self.values, self.bases, strict=True)
        ]


def compared_rows(runs: Sequence[RunReport], data: DataOfRuns) -> list[Row]:
    """Return the rows that at least one run has a number for.

    Args:
        runs: at least one.
        data: of these runs.
    """
    return [row for row in _rows(runs, data) if any(map(math.isfinite, row.values))]


def other_devices(runs: Sequence[RunReport], data: DataOfRuns) -> list[str]:
    """Say in sentences which numbers of the runs do not compare for their devices."""
    sentences = []
    for dataset in data.evaluated_sets:
        devices = {run.name: _device_of_test(run, dataset) for run in runs}
        sentences += _other_devices(f"Seconds per picture and peak memory on {dataset}", devices)
    trained = {run.name: _device_of_training(run) for run in runs if math.isfinite(_seconds(run))}
    return sentences + _other_devices("Seconds per training step", trained)


def _other_devices(what: str, devices: Mapping[str, str]) -> list[str]:
    known = {name: device for name, device in devices.items() if device}
    if len(set(known.values())) < 2:
        return []
    places = ", ".join(f"{device} ({name})" for name, device in known.items())
    return [f"{what} were measured on {places}: those of unlike devices do not compare."]


def _rows(runs: Sequence[RunReport], data: DataOfRuns) -> Iterator[Row]:
    datasets = data.evaluated_sets
    for dataset in datasets:
        prefix = f"{dataset}: " if len(datasets) > 1 else ""
        evaluations = [run.evaluations.get(dataset, (None, None))[1] for run in runs]
        tested = data.tested_on(dataset)
        for label, read, is_better, digits in _MEASURES:
            values = [math.nan if each is None else read(each) for each in evaluations]
            yield Row(prefix + label, values, tested, is_better, digits)
        for label, values in _by_class(evaluations):
            yield Row(prefix + label, values, tested)
        bases = [
            (of_run, _device_of_test(run, dataset))
            for of_run, run in zip(tested, runs, strict=True)
        ]
        for label, key, digits in _COSTS:
            values = [_number(_cost(run, dataset), key) for run in runs]
            yield Row(prefix + label, values, bases, -1, digits)
    places = list(zip(data.trained, map(_device_of_training, runs), strict=True))
    yield Row("seconds per training step", [_seconds(run) for run in runs], places, -1, 3)


_Measure = tuple[str, Callable[[Evaluation], float], int, int]
_COSTS = (
    ("seconds per picture in testing", "seconds_per_image", 3),
    ("peak memory in testing, GiB", "peak_memory_gib", 2),
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


def _by_class(evaluations: Sequence[Evaluation | None]) -> Iterator[tuple[str, list[float]]]:
    tables = [
        {}
        if each is None
        else {
            name: row["AP"]
            for name, row in zip(
                told_apart(each.evaluated.class_names), each.scores.by_class, strict=True
            )
        }
        for each in evaluations
    ]
    for name in dict.fromkeys(name for table in tables for name in table):
        yield f"AP of {name}", [table.get(name, math.nan) for table in tables]


def told_apart(names: Sequence[str]) -> list[str]:
    """Number the classes of a name that several have: "cat", "cat (2)"."""
    seen: Counter[str] = Counter()
    told = []
    for name in names:
        seen[name] += 1
        told.append(name if seen[name] == 1 else f"{name} ({seen[name]})")
    return told


def _seconds(run: RunReport) -> float:
    return math.nan if run.log is None else run.log.seconds


def _device_of_training(run: RunReport) -> str:
    """Return "cpu", "cuda", ...: which of several GPUs it was makes no difference."""
    return str(run.cfg.MODEL.DEVICE).partition(":")[0]


def _cost(run: RunReport, dataset: str) -> Mapping[str, Any]:
    return run.evaluations[dataset][0].cost if dataset in run.evaluations else {}


def _device_of_test(run: RunReport, dataset: str) -> str:
    return str(_cost(run, dataset).get("device", ""))


def _number(cost: Mapping[str, Any], key: str) -> float:
    value = cost.get(key)
    return math.nan if value is None else float(value)
