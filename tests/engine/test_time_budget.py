"""The time of a step, and the steps that a time has room for."""

from collections.abc import Iterable

import pytest

from dyhead.engine.time_budget import StepTime, TimeBudget


def seconds_after(steps: Iterable[float]) -> float:
    step = StepTime()
    for seconds in steps:
        step.add(seconds)
    return step.seconds


@pytest.mark.parametrize("place", [0, 3, 49, 99])
@pytest.mark.parametrize("number", [5, 30, 100])
def test_one_long_step_does_not_count(number: int, place: int) -> None:
    steps = [0.5] * number
    steps[place % number] = 60
    assert seconds_after(steps) == pytest.approx(0.5)


def test_waiting_for_the_loader_counts_though_most_steps_do_not_wait() -> None:
    assert seconds_after([0.1, 0.1, 0.1, 2.1] * 50) == pytest.approx(0.6)


def test_a_slower_machine_is_noticed_within_sixty_steps() -> None:
    assert seconds_after([0.5] * 500 + [1.5] * 60) == pytest.approx(1.5)


def test_an_earlier_runs_time_gives_way_to_the_own_one() -> None:
    step = StepTime()
    step.begin_with(3.0)
    assert step.seconds == 3.0
    for _ in range(20):
        step.add(1.0)
    assert step.seconds == pytest.approx(1.0)


def measured(seconds: float = 600, num_test_images: int = 0) -> TimeBudget:
    budget = TimeBudget(seconds, images_per_step=4, num_test_images=num_test_images)
    for _ in range(10):
        budget.add_step(2.0)
    return budget


def test_the_time_less_all_that_is_done_and_to_come_goes_to_steps() -> None:
    budget = measured()
    assert budget.steps_left(1, 1) == (600 - 20) / 2
    budget.add_evaluation(30)
    budget.add_checkpoint(4)
    assert budget.used == 54
    assert budget.steps_left(evaluations=3, checkpoints=2) == (600 - 54 - 3 * 30 - 2 * 4) / 2


def test_an_evaluation_is_guessed_by_its_images_until_one_was_measured() -> None:
    budget = measured(num_test_images=80)
    assert budget.evaluation == pytest.approx(0.5 * 80 * 2.0 / 4)
    budget.add_evaluation(7)
    assert budget.evaluation == 7


def test_evaluations_leave_half_of_the_time_to_steps() -> None:
    budget = measured(num_test_images=80)
    assert not budget.is_overbooked(14, 0)
    assert budget.is_overbooked(40, 0)
    assert budget.steps_left(40, 0) == (300 - 20) / 2


def test_no_step_is_left_when_the_time_is_over() -> None:
    assert measured(seconds=20.9).steps_left(1, 1) == 0
    assert measured(seconds=21.1).steps_left(1, 1) == 1


def test_a_state_tells_another_run_the_same() -> None:
    first, second = measured(num_test_images=80), TimeBudget(600, 4, 80)
    first.add_evaluation(30)
    first.add_checkpoint(4)
    second.load_state_dict(first.state_dict())
    assert second.state_dict() == first.state_dict()
    assert second.steps_left(2, 2) == first.steps_left(2, 2)
