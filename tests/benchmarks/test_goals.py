"""Goals are read from the results, and not guessed where there are none."""

import json
from pathlib import Path

import goals
import report
from benchmark_runs import row


def test_goals_are_read_from_the_results(tmp_path: Path) -> None:
    folder = tmp_path / "cpu"
    folder.mkdir()
    block = [
        row("fused", "forward", 7.0, milliseconds=1.0, error=1e-6, peak_megabytes=70.0),
        row("fused", "training", 16.0, milliseconds=1.0, saved_megabytes=60.0),
    ]
    growth = [
        row("fused", "forward", 1, grows=grows, value=value, nanoseconds_per_output=cost)
        for grows, value, cost in [
            ("area", "256 x 256", 900),
            ("area", "512 x 512", 100),
            ("area", "768 x 768", 105),
            ("levels", "P3 to P7", 200),
            ("levels", "P2 to P7", 216),
        ]
    ]
    for name, rows in (("block", block), ("growth", growth)):
        content = {"rows": rows, "machine": {"processor": "a 6502"}, "settings": {"batch": 1}}
        (folder / f"{name}.json").write_text(json.dumps(content))
    report.main(["--results", str(tmp_path)])
    page = (tmp_path / "README.md").read_text()
    lines = {
        cells[1]: cells[3:5]
        for cells in ([c.strip() for c in line.split("|")] for line in page.splitlines())
        if len(cells) == 6
    }
    assert lines["C++ fp32: forward"] == ["7.0", "yes"]
    assert lines["C++ fp32: forward + backward"] == ["16.0", "no"]
    assert lines["C++ fp32: error"] == ["1.0e-06", "yes"]
    assert lines["forward extra memory of a block, C++ fp32, MB"] == ["70", "no"]
    assert lines["saved per block and image, fp32, MB"] == ["60", "yes"]
    assert lines["cost per output over area, over levels, C++ fp32: spread"] == ["8%", "yes"]
    assert lines["cost per output over area, over levels, C++ bf16: spread"] == ["", ""]
    assert lines["GPU, block, bf16: forward"] == ["", ""]  # not guessed
    assert len(lines) >= len(goals.GOALS)
    assert "a 6502" in page


def test_gpu_goals_compare_with_the_baseline_under_autocast() -> None:
    rows = [
        row("baseline", "forward", 1.0, "float32", milliseconds=20.0),
        row("baseline", "forward", 1.0, "bfloat16", milliseconds=30.0),
        row("fused", "forward", 10.0, "bfloat16", milliseconds=3.0),
    ]
    results = {"cuda": {"block": rows}}
    found = {goal.text: goal.measured(results) for goal in goals.GOALS}
    assert found["GPU, block, bf16: forward"] == 10
    assert found["GPU, block, bf16: forward + backward"] is None
