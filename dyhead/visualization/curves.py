"""Loss and AP over iterations, from a run's metrics.json."""

import json
import logging
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeGuard

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from dyhead.errors import UserError

Curve = tuple[list[int], list[float]]  # iterations, values

_AP_STYLES = {"AP": "-", "AP50": "--"}
_TOTAL = "total_loss"
_LOW = 12  # AP whose number would lie on the axis
_ROOM = 1.09  # of the axis of iterations, for the number at the last one

logger = logging.getLogger(__name__)


def plot_curves(metrics_json: str | Path, output_png: str | Path) -> Path:
    """Draw all losses and the box APs of a run.

    Args:
        metrics_json: what Detectron2's JSONWriter wrote, one object per line. A resumed run writes
            some iterations twice: the later line counts. Where a line says that it was resumed,
            what was written of later iterations does not count. A line that a kill cut off is
            passed over.
        output_png: its folder is made if need be.

    Returns:
        The path of the picture.

    Raises:
        UserError: there is no such file, or it holds neither losses nor APs.
    """
    records = read_metrics(Path(metrics_json))
    names = sorted({name for record in records.values() for name in record})
    losses = {name: curve_of(records, name) for name in names if is_loss(name)}
    precisions = {name: curve_of(records, name) for name in names if is_precision(name)}
    if not losses and not precisions:
        raise UserError(f"{metrics_json} holds neither losses nor APs: no curves to draw.")
    figure = Figure(figsize=(12, 5), dpi=110, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    draw_losses(left, losses)
    draw_precisions(right, precisions)
    output = Path(output_png)
    output.parent.mkdir(parents=True, exist_ok=True)
    canvas.print_png(str(output))
    return output


def read_metrics(metrics_json: Path) -> dict[int, dict[str, float | None]]:
    """Read iteration -> name -> value, in the order of iterations; None where it is not finite.

    Raises:
        UserError: there is no such file.
    """
    try:
        lines = metrics_json.read_text().splitlines()
    except FileNotFoundError as error:
        raise UserError(f"{metrics_json} does not exist: give a run's metrics.json.") from error
    records: dict[int, dict[str, float | None]] = {}
    for number, line in enumerate(lines, start=1):
        try:
            record: dict[str, Any] = json.loads(line)
            iteration = int(record.pop("iteration"))
        except (ValueError, KeyError, AttributeError, TypeError):
            logger.warning("%s, line %d is no metrics record: passed over", metrics_json, number)
            continue
        if not record:  # resumed here: see `dyhead.engine.metrics_file`
            records = {known: scalars for known, scalars in records.items() if known <= iteration}
            continue
        records.setdefault(iteration, {}).update(record)
    return dict(sorted(records.items()))


def is_loss(name: str) -> bool:
    """Tell whether a scalar is a loss, or the total of them."""
    return name == _TOTAL or (name.startswith("loss_") and "/" not in name)


def is_precision(name: str) -> bool:
    """Tell whether it is `bbox/AP`, or `<data set>/bbox/AP` where there are several test sets."""
    return any(f"/{name}".endswith(f"/bbox/{precision}") for precision in _AP_STYLES)


def curve_of(records: Mapping[int, Mapping[str, float | None]], name: str) -> Curve:
    """Return the iterations and values of a scalar, where it is finite."""
    named = [(iteration, record.get(name)) for iteration, record in records.items()]
    points = [(i, value) for i, value in named if _is_finite(value)]
    return [iteration for iteration, _ in points], [value for _, value in points]


def _is_finite(value: Any) -> TypeGuard[float]:
    return isinstance(value, int | float) and math.isfinite(value)


def not_finite(records: Mapping[int, Mapping[str, float | None]], name: str) -> list[int]:
    """Return the iterations in which a scalar was recorded, but is not finite."""
    return [i for i, record in records.items() if name in record and not _is_finite(record[name])]


def draw_losses(axes: Axes, losses: Mapping[str, Curve]) -> None:
    """Draw losses by name, the total first, on a logarithmic scale where that is possible."""
    for name in sorted(losses, key=lambda name: name != _TOTAL):
        total = name == _TOTAL
        color = "black" if total else None
        label = "total" if total else name
        axes.plot(*losses[name], label=label, color=color, linewidth=2.2 if total else 1.6)
    values = [value for _, curve in losses.values() for value in curve]
    if values and min(values) > 0:
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter(_plain_number)
        axes.yaxis.set_minor_formatter(_leading_digits(1, 2, 3, 5, 7))
    finish_axes(axes, "Training loss", "loss", bool(values))


def _plain_number(value: float, _position: float = 0) -> str:
    return f"{value:g}"


def _leading_digits(*shown: int) -> Callable[[float, float], str]:
    """A formatter of the marks between powers of ten that names only some, to keep them apart."""

    def write(value: float, _position: float = 0) -> str:
        leading = int(f"{value:e}"[0])
        return _plain_number(value) if leading in shown else ""

    return write


def draw_precisions(axes: Axes, precisions: Mapping[str, Curve]) -> None:
    """Draw AP and AP50 by their names in metrics.json, and name the best AP in the title."""
    best = []
    for name, (iterations, values) in precisions.items():
        dataset, _, kind = name.rpartition("bbox/")
        label = f"{dataset.rstrip('/')} {kind}".strip()
        axes.plot(iterations, values, _AP_STYLES[kind], label=label, marker="o", linewidth=2)
        if values and kind == "AP":
            best.append(f"{label} {max(values):.1f}")
            _write_value(axes, iterations[-1], values[-1])
    title = "Box AP on the test data" + (f" (best: {', '.join(best)})" if best else "")
    axes.set_ylim(0, 100)
    last = max((curve[0][-1] for curve in precisions.values() if curve[0]), default=0)
    axes.set_xlim(right=_ROOM * max(last, 1))
    finish_axes(axes, title, "AP (%)", any(values for _, values in precisions.values()))


def _write_value(axes: Axes, iteration: int, value: float) -> None:
    """Write an AP below its point, or above it where the axis is too near."""
    axes.annotate(
        f"{value:.1f}",
        (iteration, value),
        xytext=(0, -18 if value > _LOW else 9),
        textcoords="offset points",
        ha="center",
        fontsize=12,
    )


def finish_axes(axes: Axes, title: str, y_label: str, drawn: bool) -> None:
    """Add title, labels, grid and, if something is drawn, the legend."""
    axes.set_title(title, fontsize=14)
    axes.set_xlabel("iteration", fontsize=12)
    axes.set_ylabel(y_label, fontsize=12)
    axes.tick_params(which="both", labelsize=11)
    axes.grid(True, which="both", alpha=0.25)
    axes.set_xlim(left=0)
    if drawn:
        axes.legend(fontsize=11)
    else:
        axes.text(0.5, 0.5, "none recorded", transform=axes.transAxes, ha="center", fontsize=13)
