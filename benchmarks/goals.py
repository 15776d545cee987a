"""The speed and memory goals of the project, and their values in the results.

Where several rows serve, a ratio is that of the fastest, memory that of the hungriest, and the
small image's ratio that of the slowest.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

Row = dict[str, Any]
Results = dict[str, dict[str, list[Row]]]  # rows by device ("cpu", "cuda") and benchmark

FLOAT32 = ("float32",)
BFLOAT16 = ("bfloat16",)
ACCURATE = (*FLOAT32, "bf16x3")
FUSED = {"block": "fused"}
LARGE_AREAS = ("512 x 512", "768 x 768", "1024 x 1024")


@dataclass(frozen=True)
class Goal:
    """One number to reach.

    Attributes:
        text: what is measured.
        target: to be reached from below, or from above if `at_most`.
        measured: finds the number in the results; None where it was not measured.
        form: how the number is written.
    """

    text: str
    target: float
    measured: Callable[[Results], float | None]
    at_most: bool = False
    form: str = ".1f"

    def is_reached(self, value: float) -> bool:
        """Return True if `value` meets the target."""
        return value <= self.target if self.at_most else value >= self.target


def rows_of(results: Results, device: str, benchmark: str, wanted: Mapping[str, Any]) -> list[Row]:
    """Select rows whose fields have these values; a tuple lists the values allowed."""

    def fits(row: Row) -> bool:
        return all(
            row.get(key) in (value if isinstance(value, tuple) else (value,))
            for key, value in wanted.items()
        )

    return [row for row in results.get(device, {}).get(benchmark, []) if fits(row)]


def finder(
    device: str,
    benchmark: str,
    field: str,
    wanted: Mapping[str, Any],
    choose: Callable[[Iterable[float]], float] = max,
) -> Callable[[Results], float | None]:
    """Find `field` in the rows that fit, the best or the worst of them."""

    def find(results: Results) -> float | None:
        found = [row.get(field) for row in rows_of(results, device, benchmark, wanted)]
        numbers = [value for value in found if value is not None]
        return choose(numbers) if numbers else None

    return find


def _block(backend: str, precision: str, what: str, field: str = "ratio") -> Any:
    wanted = {"backend": backend, "precision": precision, "compiled": False}
    return finder("cpu", "block", field, {**FUSED, **wanted, "pass": what})


def _model(device: str, config: str, what: str, precisions: tuple[str, ...]) -> Any:
    wanted = {"config": config, "precision": precisions, "pass": what}
    return finder(device, "model", "ratio", {**FUSED, **wanted})


def _against_autocast(
    benchmark: str, what: str, **wanted: Any
) -> Callable[[Results], float | None]:
    """Return the ratio of our fastest bfloat16 row on CUDA to the baseline under autocast."""
    fields = {"precision": "bfloat16", "pass": what, **wanted}
    ours = finder("cuda", benchmark, "milliseconds", {**fields, **FUSED}, min)
    theirs = finder("cuda", benchmark, "milliseconds", {**fields, "block": "baseline"}, min)

    def find(results: Results) -> float | None:
        ours_ms, theirs_ms = ours(results), theirs(results)
        return theirs_ms / ours_ms if ours_ms and theirs_ms else None

    return find


def _peak(backend: str) -> Any:
    """Return the peak in megabytes, the block's output included."""
    return _block(backend, "float32", "forward", "peak_megabytes")


def _saved(precision: str) -> Any:
    """Return the megabytes saved for backward, on the worst back end."""
    wanted = {**FUSED, "precision": precision, "pass": "training"}
    return finder("cpu", "block", "saved_megabytes", wanted)


def _slowest_small(what: str) -> Any:
    """Return the worst ratio of all back ends and precisions."""
    return finder("cpu", "block_256", "ratio", {**FUSED, "pass": what}, min)


def _growth_spread(backend: str, precision: str) -> Callable[[Results], float | None]:
    """Return the ratio of the most to the least expensive output, over area or over levels.

    The worse of the two.
    """
    variant = {**FUSED, "backend": backend, "precision": precision}
    dimensions = ({"grows": "area", "value": LARGE_AREAS}, {"grows": "levels"})

    def find(results: Results) -> float | None:
        spreads = []
        for dimension in dimensions:
            rows = rows_of(results, "cpu", "growth", {**variant, **dimension})
            costs = [row["nanoseconds_per_output"] for row in rows]
            if len(costs) < 2:
                return None
            spreads.append(max(costs) / min(costs) - 1)
        return max(spreads)

    return find


R50, SMALL_R18 = "dyhead_r50_atss_fpn_1x.yaml", "Base-ATSS-DyHead-R18-small.yaml"

GOALS = (
    Goal("no compiler, fp32: forward", 3.5, _block("pytorch", "float32", "forward")),
    Goal("no compiler, fp32: forward + backward", 10, _block("pytorch", "float32", "training")),
    Goal("C++ fp32: forward", 6.5, _block("cpp", "float32", "forward")),
    Goal("C++ fp32: forward + backward", 17, _block("cpp", "float32", "training")),
    Goal("C++ fp32: error", 1e-5, _block("cpp", "float32", "forward", "error"), True, ".1e"),
    Goal("C++ bf16x3: forward", 14, _block("cpp", "bf16x3", "forward")),
    Goal("C++ bf16x3: error", 2e-5, _block("cpp", "bf16x3", "forward", "error"), True, ".1e"),
    Goal("C++ bf16: forward", 28, _block("cpp", "bfloat16", "forward")),
    Goal("C++ bf16: forward + backward", 45, _block("cpp", "bfloat16", "training")),
    Goal("ATSS-R50 inference, fp32-accurate", 4.5, _model("cpu", R50, "inference", ACCURATE)),
    Goal("ATSS-R50 inference, bf16", 10, _model("cpu", R50, "inference", BFLOAT16)),
    Goal("training step of ATSS-R18, fp32", 5, _model("cpu", SMALL_R18, "training", FLOAT32)),
    Goal("training step of ATSS-R18, bf16", 5, _model("cpu", SMALL_R18, "training", BFLOAT16)),
    Goal("forward extra memory of a block, C++ fp32, MB", 60, _peak("cpp"), True, ".0f"),
    Goal("forward extra memory of a block, no compiler, MB", 60, _peak("pytorch"), True, ".0f"),
    Goal("saved per block and image, fp32, MB", 65, _saved("float32"), True, ".0f"),
    Goal(
        "saved per block and image, bf16, MB",
        35,
        _saved("bfloat16"),
        True,
        ".0f",
    ),
    Goal("GPU, block, bf16: forward", 8, _against_autocast("block", "forward")),
    Goal("GPU, block, bf16: forward + backward", 5, _against_autocast("block", "training")),
    Goal(
        "GPU, ATSS-R50 training step, bf16",
        2.5,
        _against_autocast("model", "training", config=R50),
    ),
    *(
        Goal(f"cost per output over area, over levels, {text}: spread", 0.1, find, True, ".0%")
        for text, find in (
            ("no compiler, fp32", _growth_spread("pytorch", "float32")),
            ("no compiler, bf16", _growth_spread("pytorch", "bfloat16")),
            ("C++ fp32", _growth_spread("cpp", "float32")),
            ("C++ bf16x3", _growth_spread("cpp", "bf16x3")),
            ("C++ bf16", _growth_spread("cpp", "bfloat16")),
        )
    ),
    Goal("256 x 256, slowest fused block, forward", 1, _slowest_small("forward")),
    Goal("256 x 256, slowest fused block, forward + backward", 1, _slowest_small("training")),
)
