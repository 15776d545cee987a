"""Writes benchmarks/results/README.md from the json files beside it: goals, then tables.

    python benchmarks/report.py

Results lie in benchmarks/results/<cpu or cuda>/<benchmark>.json. What was not measured stays empty.
"""

import argparse
import json
from pathlib import Path
from typing import Any

from goals import GOALS, Goal, Results
from results import render
from tabulate import tabulate

RESULTS = Path(__file__).parent / "results"
TITLES = {
    "deform_conv": "The operator",
    "block": "One block",
    "block_256": "One block on a small image",
    "growth": "Growth",
    "model": "Whole detectors",
    "loader": "Data loader",
}
INTRODUCTION = """\
# Measured

Made by `make bench`; do not edit. Ratios are to the baseline of the same run: the official
formulation of the block on torchvision's operator, in float32. Medians of interleaved rounds;
errors are the largest absolute difference to the baseline in float64; gradient errors compare norms
with the baseline in float32, for the tensor that differs most. "pytorch" is plain PyTorch without a
compiler. Peak memory is what a call takes beyond what was there before, its result included; on a
CPU in a process of its own that gives freed memory back at once. Saved memory is what a forward
pass keeps for backward, of a block per image, inputs included and parameters not.
"""
NO_GPU = "Not measured yet: `make gpu-check` or `make bench DEVICE=cuda` does, where there is one."


def read(folder: Path) -> dict[str, dict[str, Any]]:
    """Read all results, by device and benchmark."""
    found: dict[str, dict[str, Any]] = {}
    for path in sorted(folder.glob("*/*.json")):
        found.setdefault(path.parent.name, {})[path.stem] = json.loads(path.read_text())
    return found


def goals_table(results: Results) -> str:
    """Format one line per goal."""
    cells = [_goal_cells(goal, goal.measured(results)) for goal in GOALS]
    headings = ("", "goal", "measured", "reached")
    return tabulate(cells, headings, tablefmt="github", disable_numparse=True)


def _goal_cells(goal: Goal, value: float | None) -> list[str]:
    sign = "<=" if goal.at_most else ">="
    target = f"{sign} {goal.target:{goal.form}}"
    if value is None:
        return [goal.text, target, "", ""]
    return [goal.text, target, f"{value:{goal.form}}", "yes" if goal.is_reached(value) else "no"]


def render_results(found: dict[str, dict[str, Any]]) -> str:
    """Format the whole page."""
    rows: Results = {
        device: {name: result["rows"] for name, result in benchmarks.items()}
        for device, benchmarks in found.items()
    }
    parts = [INTRODUCTION, "## Goals\n", goals_table(rows)]
    if "cuda" not in found:
        parts.append(f"\n## On a GPU\n\n{NO_GPU}")
    for device, benchmarks in found.items():
        for name in sorted(benchmarks, key=lambda name: [*TITLES, name].index(name)):
            parts += _section(device, TITLES.get(name, name), benchmarks[name])
    return "\n".join(parts) + "\n"


def _section(device: str, title: str, result: dict[str, Any]) -> list[str]:
    facts = {**result["machine"], **result["settings"]}
    described = "; ".join(f"{key} {value}" for key, value in facts.items() if value != "")
    return [f"\n## {title}, {device}\n", f"{described}\n", render(result["rows"], "github")]


def main(arguments: list[str] | None = None) -> None:
    """Write the page and print the goals."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--results", type=Path, default=RESULTS)
    args = parser.parse_args(arguments)
    page = render_results(read(args.results))
    (args.results / "README.md").write_text(page)
    print(page.split("## Goals\n")[1].split("\n## ")[0].strip())


if __name__ == "__main__":
    main()
