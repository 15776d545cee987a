"""The pages' benchmark times every request, small, and in a browser what a reader does."""

from pathlib import Path

import bm_pages
import pytest
from benchmark_runs import run_benchmark
from browser import CHROMIUM


@pytest.mark.usefixtures("own_catalogs")
def test_pages_benchmark(tmp_path: Path) -> None:
    arguments = ["--pictures", "3", "--detections", "5", "--rounds", "1"]
    rows = run_benchmark(bm_pages, arguments, tmp_path / "pages.json")
    assert len(rows) == 2 + len(bm_pages.QUERIES)
    assert all(row["config"].startswith("3 pictures") for row in rows)
    assert all(row["milliseconds"] > 0 for row in rows)


@pytest.mark.slow
@pytest.mark.skipif(not CHROMIUM, reason="needs Chromium or Chrome")
@pytest.mark.usefixtures("own_catalogs")
def test_pages_benchmark_in_a_browser(tmp_path: Path) -> None:
    arguments = ["--pictures", "70", "--detections", "5", "--rounds", "1", "--steps", "2"]
    rows = run_benchmark(bm_pages, arguments, tmp_path / "pages.json")
    of_browser = [row for row in rows if row["task"].startswith("browser: ")]
    assert len(of_browser) == 5
    for each in of_browser:
        assert 0 < each["quartiles"][0] <= each["milliseconds"] <= each["slowest"]
