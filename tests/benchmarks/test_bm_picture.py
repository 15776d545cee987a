"""The parts of one picture's time add up to the whole."""

import json
from pathlib import Path

import bm_picture
import numpy as np
import pytest
from benchmark_runs import run_benchmark
from PIL import Image
from small_runs import save_run

from dyhead.errors import UserError


@pytest.mark.parametrize("num_blocks", [0, 2])
def test_picture_benchmark(tmp_path: Path, num_blocks: int) -> None:
    run = save_run(tmp_path / "run", **{"MODEL.DYHEAD.NUM_CONVS": num_blocks})
    picture = tmp_path / "picture.png"
    Image.fromarray(np.zeros((48, 64, 3), np.uint8)).save(picture)
    arguments = ["--rounds", "3", str(run), str(picture)]
    rows = run_benchmark(bm_picture, arguments, tmp_path / "picture.json")
    *parts, whole = rows
    assert ("DyHead blocks" in [row["task"] for row in parts]) == (num_blocks > 0)
    assert len(parts) == 9 - (not num_blocks)
    assert all(0 < row["milliseconds"] < whole["milliseconds"] for row in parts)
    assert sum(row["percent"] for row in parts) == pytest.approx(100, abs=1)


def test_picture_benchmark_sets_keys_of_the_config(tmp_path: Path) -> None:
    run = save_run(tmp_path / "run")
    picture = tmp_path / "picture.png"
    Image.fromarray(np.zeros((48, 64, 3), np.uint8)).save(picture)
    arguments = [str(run), str(picture), "--rounds", "1", "--set", "TEST.PRECISION"]
    run_benchmark(bm_picture, [*arguments, "bfloat16"], tmp_path / "picture.json")
    settings = json.loads((tmp_path / "picture.json").read_text())["settings"]
    assert settings["overrides"] == "TEST.PRECISION bfloat16"
    with pytest.raises(UserError, match=r"TEST\.PRECISION"):
        bm_picture.main([*arguments, "float8"])


def test_a_stopwatch_counts_no_time_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bm_picture.time, "perf_counter", iter([0, 1, 3, 4, 9, 10]).__next__)
    watch = bm_picture.Stopwatch()
    watch.call("outer", lambda: [watch.call("inner", int) for _ in range(2)])
    assert watch.take() == {"inner": 2 + 5, "outer": 10 - 2 - 5}
    assert not watch.take()
