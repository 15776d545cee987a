"""The operator's benchmark runs, small, and its variants agree."""

from pathlib import Path

import bm_deform_conv
from benchmark_runs import check_errors, run_benchmark


def test_deform_conv_benchmark(tmp_path: Path) -> None:
    sizes = ["--channels", "16", "--height", "6", "--width", "7", "--stride", "2"]
    rows = run_benchmark(bm_deform_conv, [*sizes, "--rounds", "1"], tmp_path / "deform_conv.json")
    assert rows[0]["variant"] == bm_deform_conv.BASELINE.name
    assert {row["backend"] for row in rows} >= {"torchvision", "pytorch"}
    check_errors(rows)
