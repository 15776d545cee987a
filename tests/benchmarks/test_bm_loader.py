"""The loader's benchmark counts images per second."""

from pathlib import Path

import bm_loader
import pytest
import torch
from benchmark_runs import run_benchmark


def test_loader_benchmark(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    batch = [{"image": torch.zeros(3, 8, 8)}] * 4
    loader = [batch] * 100
    monkeypatch.setattr(bm_loader.Trainer, "build_train_loader", lambda cfg: loader)
    arguments = ["--workers", "0", "--batches", "3", "--rounds", "2"]
    rows = run_benchmark(bm_loader, arguments, tmp_path / "loader.json")
    assert [row["workers"] for row in rows] == ["0"]
    assert rows[0]["images_per_second"] == pytest.approx(4000 / rows[0]["milliseconds"])
