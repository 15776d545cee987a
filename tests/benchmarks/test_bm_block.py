"""The block's benchmark runs, small; its variants agree and its costs are per output."""

import json
from pathlib import Path
from typing import Any

import bm_block
import pytest
from benchmark_runs import check_errors, run_benchmark
from variants import BASELINE


def test_block_benchmark(tmp_path: Path) -> None:
    sizes = ["--size", "32", "48", "--levels", "3", "5", "--channels", "32", "--blocks", "2"]
    rounds = ["--rounds", "1", "--training-rounds", "1"]
    rows = run_benchmark(bm_block, [*sizes, *rounds], tmp_path / "block.json")
    assert rows[0]["block"] == "baseline" and rows[0]["ratio"] == 1
    assert {row["pass"] for row in rows} == {"forward", "training"}
    found = {(row["block"], row["backend"]) for row in rows}
    assert found >= {("plain", "pytorch"), ("fused", "pytorch")}
    check_errors(rows)


def test_a_block_that_cannot_be_profiled_keeps_its_times(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise RuntimeError("no profiler")

    monkeypatch.setattr(bm_block, "add_launches", fail)
    monkeypatch.setattr(bm_block, "block_variants", lambda *_: [BASELINE])
    sizes = ["--size", "32", "48", "--levels", "3", "5", "--channels", "32", "--rounds", "1"]
    output = tmp_path / "block.json"
    with pytest.raises(RuntimeError, match="no profiler"):
        bm_block.main([*sizes, "--passes", "forward", "--output", str(output)])
    assert json.loads(output.read_text())["rows"][0]["milliseconds"] > 0


def test_growth_benchmark(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    steps = [
        ("area", "32 x 32", {}),
        ("area", "64 x 64", {"size": (64, 64)}),
        ("levels", "P2 to P7", {"levels": (2, 7)}),
        ("blocks", "2", {"blocks": 2}),
    ]
    monkeypatch.setattr(bm_block, "GROWTH", steps)
    arguments = ["--growth", "--size", "32", "32", "--channels", "32", "--rounds", "1"]
    rows = run_benchmark(bm_block, arguments, tmp_path / "growth.json")
    assert {(row["value"], row["outputs"]) for row in rows} == {
        ("32 x 32", 16 + 3 * (4 + 1 + 1 + 1)),
        ("64 x 64", 64 + 3 * (16 + 4 + 1 + 1)),
        ("P2 to P7", 64 + 3 * (16 + 4 + 1 + 1 + 1)),
        ("2", 2 * (16 + 3 * (4 + 1 + 1 + 1))),
    }
    for row in rows:
        cost = 1e6 * row["milliseconds"] / row["outputs"]
        assert row["nanoseconds_per_output"] == pytest.approx(cost)
