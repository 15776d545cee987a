"""The cost of an evaluation is logged and is no score."""

import json
import logging
from pathlib import Path
from types import SimpleNamespace

import pytest

from dyhead.evaluation import evaluators
from dyhead.evaluation.evaluators import CostEvaluator

IMAGES = [{}, {}]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Batches end at second 10, 11, 13, ..."""
    times = iter([10.0, 10.0, 11.0, 13.0])
    own_time = SimpleNamespace(perf_counter=lambda: next(times))  # not the whole test run's
    monkeypatch.setattr(evaluators, "time", own_time)


def run(num_batches: int, caplog: pytest.LogCaptureFixture) -> str:
    evaluator = CostEvaluator("cpu")
    evaluator.reset()
    for _ in range(num_batches):
        evaluator.process(IMAGES, IMAGES)
    with caplog.at_level(logging.INFO, logger=evaluators.__name__):
        assert evaluator.evaluate() is None
    return caplog.text


def test_the_first_batch_counts_but_is_not_timed(clock: None, caplog: pytest.LogCaptureFixture):
    text = run(3, caplog)
    assert "6 images on cpu" in text and "0.750 s per image" in text  # 3 seconds of 4 images


def test_a_single_batch_has_no_time(clock: None, caplog: pytest.LogCaptureFixture) -> None:
    text = run(1, caplog)
    assert "2 images on cpu" in text and "s per image" not in text


def test_the_cost_is_written_beside_the_detections(clock: None, tmp_path: Path) -> None:
    evaluator = CostEvaluator("cpu", str(tmp_path / "inference"))
    evaluator.reset()
    for _ in range(3):
        evaluator.process(IMAGES, IMAGES)
    evaluator.evaluate()
    cost = json.loads((tmp_path / "inference" / "cost.json").read_text())
    assert (cost["images"], cost["device"], cost["seconds_per_image"]) == (6, "cpu", 0.75)
    assert cost["peak_memory_gib"] is None or cost["peak_memory_gib"] > 0


def test_without_images_nothing_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    assert run(0, caplog) == ""
