"""Prints tables, and writes them as json with a description of the machine."""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from machine import describe_machine
from measure import MEGABYTE, Timing
from tabulate import tabulate

from dyhead.safe_io.json_text import write_json

Row = dict[str, Any]

# Column of a row: its heading, its format.
COLUMNS = {
    "config": ("config", ""),
    "task": ("", ""),
    "grows": ("grows", ""),
    "value": ("to", ""),
    "workers": ("workers", ""),
    "variant": ("variant", ""),
    "pass": ("pass", ""),
    "milliseconds": ("ms", ".1f"),
    "percent": ("%", ".1f"),
    "quartiles": ("quartiles", ""),
    "slowest": ("slowest", ".1f"),
    "images_per_second": ("images/s", ".1f"),
    "nanoseconds_per_output": ("ns per output", ".0f"),
    "ratio": ("times baseline", ".2f"),
    "ratio_to_autocast": ("times baseline in bfloat16", ".2f"),
    "launches": ("launches", ""),
    "error": ("max error", ".1e"),
    "gradient_error": ("gradient error", ".1e"),
    "peak_megabytes": ("peak MB", ".0f"),
    "saved_megabytes": ("saved MB", ".0f"),
}


def add_common_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of every benchmark: device, threads, output."""
    parser.add_argument("--device", type=torch.device, default=torch.device("cpu"))
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--output", type=Path, help="json file to write")


def timing_columns(
    timing: Timing, baseline: Timing | None, autocast_baseline: Timing | None = None
) -> Row:
    """Fill the columns of a timing; without a measured baseline there is no ratio."""
    row: Row = {
        "milliseconds": 1000 * timing.median,
        "quartiles": [1000 * timing.low, 1000 * timing.high],
    }
    if baseline is not None:
        row["ratio"] = baseline.median / timing.median
    if autocast_baseline is not None:
        row["ratio_to_autocast"] = autocast_baseline.median / timing.median
    return row


def megabytes(count: int | None) -> float | None:
    """Convert bytes to units of 10^6 bytes."""
    return None if count is None else count / MEGABYTE


def render(rows: Sequence[Row], style: str = "simple") -> str:
    """Format a table of all columns that any row has."""
    used = [key for key in COLUMNS if any(row.get(key) is not None for row in rows)]
    headings = [COLUMNS[key][0] for key in used]
    cells = [[_cell(row.get(key), COLUMNS[key][1]) for key in used] for row in rows]
    align = ["right" if COLUMNS[key][1] else "left" for key in used]
    return tabulate(cells, headings, tablefmt=style, colalign=align, disable_numparse=True)


def _cell(value: Any, form: str) -> str:
    if value is None:
        return ""
    if isinstance(value, list):
        return " - ".join(f"{item:.1f}" for item in value)
    return format(value, form)


def report(
    benchmark: str, settings: Mapping[str, Any], rows: Sequence[Row], args: argparse.Namespace
) -> None:
    """Print the machine and the table, and `keep` them."""
    machine = describe_machine(args.device)
    print(", ".join(f"{key}: {value}" for key, value in machine.items()))
    print(", ".join(f"{key}: {value}" for key, value in settings.items()))
    print(render(rows), flush=True)
    keep(benchmark, settings, rows, args)


def keep(
    benchmark: str, settings: Mapping[str, Any], rows: Sequence[Row], args: argparse.Namespace
) -> None:
    """Write the rows that there are, and the machine, to `args.output` if it names a file.

    Call it before what may fail or be cut off, too.
    """
    if args.output is None:
        return
    args.output.parent.mkdir(parents=True, exist_ok=True)
    result = {
        "benchmark": benchmark,
        "machine": describe_machine(args.device),
        "settings": dict(settings),
        "rows": list(rows),
    }
    write_json(result, args.output, indent=1)
