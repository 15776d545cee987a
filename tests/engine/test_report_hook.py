"""A training that reaches its end leaves a report on itself, unless it is told not to."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from dyhead.d2.config import CfgNode
from dyhead.engine.trainer import Trainer

MakeConfig = Callable[..., CfgNode]

pytestmark = pytest.mark.usefixtures("without_pictures")


def test_a_training_reports_on_itself(
    make_config: MakeConfig, caplog: pytest.LogCaptureFixture
) -> None:
    cfg = make_config(**{"TEST.REPORT": True})
    with caplog.at_level("INFO", "dyhead"):
        Trainer(cfg).train()
    folder = Path(cfg.OUTPUT_DIR, "report")
    assert f"Report on this run: {folder / 'report.html'}" in caplog.text
    (run,) = json.loads((folder / "report.json").read_text())["runs"]
    assert run["missing"] == []
    assert run["training"]["steps"] == 4
    (measured,) = run["evaluations"].values()
    scores = json.loads(Path(cfg.OUTPUT_DIR, "inference", "scores.json").read_text())
    assert measured["scores"]["AP"] == pytest.approx(scores["AP"])
    assert measured["cost"]["images"] == 6
    assert any("rectangles: 6 pictures" in line for line in run["data"])
    assert (folder / "report.html").read_text().startswith("<!doctype html>")


def test_a_report_that_fails_is_told_and_stops_no_training(
    make_config: MakeConfig, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(cfg: CfgNode) -> Path:
        raise RuntimeError("no chart")

    monkeypatch.setattr("dyhead.run_report.run.write_own_report", fail)
    Trainer(make_config(**{"TEST.REPORT": True})).train()
    (told,) = [each for each in caplog.records if "No report on this run" in each.message]
    assert told.message.endswith("no chart") and told.exc_info  # a bug: with its traceback


def test_no_report_is_written_where_none_is_wanted(make_config: MakeConfig) -> None:
    cfg = make_config()
    Trainer(cfg).train()
    assert not Path(cfg.OUTPUT_DIR, "report").exists()
