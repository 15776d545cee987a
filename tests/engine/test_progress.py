"""The progress of a training, in steps of the config."""

import math
import random

import pytest

from dyhead.engine.progress import TrainingProgress


@pytest.mark.parametrize("period", [1, 3, 4, 10, 25])
def test_steps_of_one_pass_a_period_when_it_divides_them(period: int) -> None:
    progress = TrainingProgress(20)
    for done in range(1, 21):
        progress.move_to(done)
        assert progress.has_passed(period) == (done % period == 0)
        assert progress.share == done / 20


@pytest.mark.parametrize("seed", range(5))
def test_uneven_steps_pass_each_multiple_once(seed: int) -> None:
    generator = random.Random(seed)
    progress, period = TrainingProgress(100), 7
    passed, done = 0, 0.0
    while done < 100:
        to_come = progress.count_to_come(period)
        assert to_come + passed == math.ceil(100 / period) - 1
        done = min(100, done + generator.uniform(0.01, 6.9))
        progress.move_to(done)
        passed += progress.has_passed(period)
    assert passed == 100 // period


def test_the_end_is_not_to_come_where_a_period_divides_the_length() -> None:
    progress = TrainingProgress(100)
    assert progress.count_to_come(25) == 3
    progress.move_to(75.5)
    assert progress.count_to_come(25) == 0


def test_a_period_of_zero_is_never_passed_nor_to_come() -> None:
    progress = TrainingProgress(10)
    progress.move_to(10)
    assert not progress.has_passed(0)
    assert TrainingProgress(10).count_to_come(0) == 0


def test_nothing_is_due_where_a_resumed_run_goes_on() -> None:
    progress = TrainingProgress(10)
    progress.enter(5)
    assert progress.share == 0.5 and not progress.has_passed(5)


def test_it_ends_at_the_length() -> None:
    progress = TrainingProgress(10)
    progress.move_to(12.5)
    assert progress.share == 1
