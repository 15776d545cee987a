"""The augmentations' benchmark times every part, small."""

from pathlib import Path

import bm_augmentation
import pytest
from benchmark_runs import run_benchmark


@pytest.mark.usefixtures("own_catalogs")
def test_augmentation_benchmark(tmp_path: Path) -> None:
    arguments = ["--sizes", "48", "64", "--images", "2", "--rounds", "1"]
    rows = run_benchmark(bm_augmentation, arguments, tmp_path / "augmentation.json")
    assert [row["task"] for row in rows] == list(bm_augmentation.PARTS)
    assert all(row["config"] == "48 x 64" and row["milliseconds"] > 0 for row in rows)
