"""Sets the numbers of runs side by side, and compares those that measure the same."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dyhead.evaluation.measures.error_kinds import ErrorKind
from dyhead.run_report.collect import RunReport
from dyhead.run_report.evaluation import Evaluation
from dyhead.run_report.tested_data import tested_data


@dataclass(frozen=True)
class Row:
    """One number of every run; NaN where a run lacks it.

    Attributes:
        label: what it is.
        values: of the runs, in their order.
        bases: what each value was measured on, data or device; values of unequal ones do not
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


def compared_rows(runs: Sequence[RunReport]) -> list[Row]:
    """Return the rows that at least one run has a number for."""
    return [row for row in _rows(runs) if any(map(math.isfinite, row.values))]


def incomparable(runs: Sequence[RunReport]) -> list[str]:
    """Say in sentences which numbers of the runs do not compare, and why."""
    sentences = []
    for dataset in _datasets(runs):
        sentences += list(_other_data(dataset, runs))
        devices = {run.name: _device_of_test(run, dataset) for run in runs}
        sentences += _other_devices(f"Seconds per picture and peak memory on {dataset}", devices)
    trained = {run.name: _device_of_training(run) for run in runs if math.isfinite(_seconds(run))}
    return sentences + _other_devices("Seconds per training step", trained)


def _datasets(runs: Sequence[RunReport]) -> list[str]:
    return list(dict.fromkeys(name for run in runs for name in run.evaluations))


def _other_data(dataset: str, runs: Sequence[RunReport]) -> Iterator[str]:
    """Name the runs whose data set of this name is another one than that of the first with one."""
    first, *others = [run for run in runs if dataset in run.evaluations]
    data = tested_data(first.evaluations[dataset][1].evaluated)
    for run in others:
        reason = data.difference(tested_data(run.evaluations[dataset][1].evaluated))
        if reason:
            yield (
                f"{dataset} of {run.name} is not the data that it is in {first.name} ({reason}):"
                " their numbers on it do not compare."
            )


def _other_devices(what: str, devices: Mapping[str, str]) -> list[str]:
    known = {name: device for name, device in devices.items() if device}
    if len(set(known.values())) < 2:
        return []
    places = ", ".join(f"{device} ({name})" for name, device in known.items())
    return [f"{what} were measured on {places}: those of unlike devices do not compare."]


def _rows(runs: Sequence[RunReport]) -> Iterator[Row]:
    datasets = _datasets(runs)
    for dataset in datasets:
        prefix = f"{dataset}: " if len(datasets) > 1 else ""
        evaluations = [run.evaluations.get(dataset, (None, None))[1] for run in runs]
        data = [None if each is None else tested_data(each.evaluated) for each in evaluations]
        for label, read, is_better, digits in _MEASURES:
            values = [math.nan if each is None else read(each) for each in evaluations]
            yield Row(prefix + label, values, data, is_better, digits)
        for label, values in _by_class(evaluations):
            yield Row(prefix + label, values, data)
        bases = [
            (of_run, _device_of_test(run, dataset)) for of_run, run in zip(data, runs, strict=True)
        ]
        for label, key, digits in _COSTS:
            values = [_number(_cost(run, dataset), key) for run in runs]
            yield Row(prefix + label, values, bases, -1, digits)
    devices = [_device_of_training(run) for run in runs]
    yield Row("seconds per training step", [_seconds(run) for run in runs], devices, -1, 3)


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
            for name, row in zip(each.evaluated.class_names, each.scores.by_class, strict=True)
        }
        for each in evaluations
    ]
    for name in dict.fromkeys(name for table in tables for name in table):
        yield f"AP of {name}", [table.get(name, math.nan) for table in tables]


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
