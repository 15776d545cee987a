"""Analyses as text for people and as plain values for JSON."""

from dataclasses import asdict
from typing import Any

from tabulate import tabulate

from dyhead.analysis.analyze import Analysis, PartCost
from dyhead.analysis.table2 import Table2

MIB = 2**20


def format_analysis(analysis: Analysis) -> str:
    """Format the table of parts, and below it the operators that its numbers leave out."""
    parts = [*analysis.parts, PartCost("total", 0, analysis.total)]
    table = tabulate(
        [_line(part) for part in parts],
        headers=["part", "multiply-adds (G)", "parameters", "activations (M)", "saved (MiB)"],
        floatfmt=("", ".4f", "", ".3f", ".2f"),
        intfmt=("", "", ",", "", ""),
        colalign=("left", "right", "right", "right", "right"),
    )
    return "\n".join([_title(analysis), "", table, "", *_notes(analysis)])


def _title(analysis: Analysis) -> str:
    height, width = analysis.size
    return f"One image of {height} x {width} pixels, as the backbone gets it."


def _line(part: PartCost) -> list[Any]:
    cost = part.cost
    return [
        "- " * part.depth + part.name,
        cost.multiply_adds / 1e9,
        cost.parameters,
        cost.activations / 1e6,
        cost.saved_bytes / MIB,
    ]


def _notes(analysis: Analysis) -> list[str]:
    products = {name: f"{number / 1e9:.3f} G" for name, number in analysis.by_operator.items()}
    notes = [
        f"multiply-adds: {_list(products)}.",
        "activations: elements that convolutions, linear layers and matrix products give out.",
        "saved: memory kept for backward in training on a GPU in float32, besides parameters;"
        " shared storages count once, for the part that saves them first.",
        f"operators in no multiply-add, with their calls: {_list(analysis.uncounted)}.",
    ]
    if analysis.unmeasured:
        notes.append(
            "not measured, because the work depends on what is in the image (parameters):"
            f" {_list(analysis.unmeasured)}."
        )
    return notes


def _list(values: dict[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in values.items()) or "none"


def analysis_as_dict(analysis: Analysis) -> dict[str, Any]:
    """Return plain values; multiply-adds, elements and bytes are whole numbers."""
    return {
        "size": list(analysis.size),
        "parts": [
            {"name": part.name, "depth": part.depth, **asdict(part.cost)} for part in analysis.parts
        ],
        "total": asdict(analysis.total),
        "multiply_adds_by_operator": analysis.by_operator,
        "uncounted_operator_calls": analysis.uncounted,
        "unmeasured_parameters": analysis.unmeasured,
    }


def format_table2(table: Table2) -> str:
    """Format the paper's differences to the baseline beside ours."""
    lines = [
        [depth.blocks, depth.paper_delta / 1e9, depth.delta / 1e9, depth.relative_difference * 100]
        for depth in table.depths
    ]
    return "\n".join(
        [
            f"Multiply-adds against the baseline with towers ({table.baseline / 1e9:.2f} G here).",
            "",
            tabulate(
                lines,
                headers=["blocks", "paper (G)", "measured (G)", "difference (%)"],
                floatfmt=("", "+.2f", "+.2f", "+.2f"),
            ),
        ]
    )


def table2_as_dict(table: Table2) -> dict[str, Any]:
    """Return plain values; differences are multiply-adds."""
    return {
        "baseline_multiply_adds": table.baseline,
        "depths": [
            {**asdict(depth), "relative_difference": depth.relative_difference}
            for depth in table.depths
        ],
    }
