"""Reads the curves and the speed of a training from its metrics.json."""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from dyhead.errors import UserError
from dyhead.visualization.curves import (
    Curve,
    curve_of,
    is_loss,
    is_precision,
    not_finite,
    read_metrics,
)

METRICS_NAME = "metrics.json"


@dataclass(frozen=True)
class TrainingLog:
    """The numbers of a training by iteration.

    Attributes:
        losses: by name, "total_loss" among them, where they are finite.
        lost: the iterations in which a loss was recorded, but is not finite, by its name.
        precisions: AP and AP50 of the boxes of each data set, from 0 to 100.
        rates: the learning rate, by "lr".
        steps: number of steps.
        seconds: median of the seconds of a step.
        data_seconds: median of the seconds of a step that were spent waiting for images.
        pictures_per_second: images of a batch over `seconds`.
    """

    losses: Mapping[str, Curve]
    lost: Mapping[str, Sequence[int]]
    precisions: Mapping[str, Curve]
    rates: Mapping[str, Curve]
    steps: int
    seconds: float
    data_seconds: float
    pictures_per_second: float


def read_training_log(folder: Path, batch_size: int) -> TrainingLog:
    """Read the metrics.json of a run.

    Args:
        folder: of the run.
        batch_size: SOLVER.IMS_PER_BATCH.

    Raises:
        UserError: it is missing or empty; the message says how to get it.
    """
    path = folder / METRICS_NAME
    if not path.is_file():
        raise UserError(f"{path} is missing: a training leaves it in its OUTPUT_DIR.")
    records = read_metrics(path)
    names = sorted({name for record in records.values() for name in record})
    curves = {name: curve_of(records, name) for name in names}
    losses = {name: curve for name, curve in curves.items() if is_loss(name)}
    if not losses:
        raise UserError(f"{path} holds no losses: the training ended before it wrote any.")
    seconds = _median(curves, "time")
    return TrainingLog(
        losses,
        {name: found for name in losses if (found := not_finite(records, name))},
        {name: curve for name, curve in curves.items() if is_precision(name)},
        {name: curve for name, curve in curves.items() if name == "lr"},
        max(step for step, record in records.items() if not losses.keys().isdisjoint(record)) + 1,
        seconds,
        _median(curves, "data_time"),
        batch_size / seconds if seconds else math.nan,
    )


def _median(curves: Mapping[str, Curve], name: str) -> float:
    _, values = curves.get(name, ((), ()))
    return statistics.median(values) if values else math.nan
