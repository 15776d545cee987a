"""The cost of an evaluation is logged and is no score."""

import logging
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


def test_without_images_nothing_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    assert run(0, caplog) == ""
