"""The last steps are those of the training's length, whatever happens on the way."""

import sys

import pytest

from dyhead.data.last_steps import LastSteps


def first_position(steps: LastSteps) -> int:
    return next(position for position in range(10_000) if steps.includes(position))


@pytest.mark.parametrize(
    ("share", "length", "batch", "first"),
    [
        (0.1, 100, 4, 360),
        (0.0, 100, 4, 400),
        (1.0, 100, 4, 0),
        (0.25, 10, 3, 8 * 3),
        (0.15, 10, 1, 8),
    ],
)
def test_they_begin_with_the_first_image_of_their_first_step(
    share: float, length: int, batch: int, first: int
) -> None:
    assert first_position(LastSteps(share, length, batch)) == first


def test_another_length_moves_them() -> None:
    steps = LastSteps(0.2, 100, 2)
    steps.plan(50)
    assert first_position(steps) == 40 * 2


def test_a_training_without_a_known_length_has_none() -> None:
    steps = LastSteps(0.2, 100, 2)
    steps.plan(sys.maxsize)
    assert not steps.includes(10**15)


def test_a_resumed_run_has_the_same() -> None:
    again = LastSteps(0.2, 100, 2)
    again.load_state_dict(LastSteps(0.2, 100, 2).state_dict(), batch_size=2, images=61)
    assert first_position(again) == 80 * 2


def test_they_begin_at_the_same_step_with_batches_of_another_size() -> None:
    first = LastSteps(0.2, 100, 2)
    second = LastSteps(0.2, 100, 5)
    second.load_state_dict(first.state_dict(), batch_size=2, images=30 * 2)
    assert first_position(second) == 30 * 2 + (80 - 30) * 5
    third = LastSteps(0.2, 120, 1)  # resumed twice, and longer
    third.load_state_dict(second.state_dict(), batch_size=5, images=30 * 2 + 20 * 5)
    assert first_position(third) == 30 * 2 + 20 * 5 + (96 - 50) * 1


def test_a_run_of_an_older_version_began_at_its_first_image() -> None:
    steps = LastSteps(0.5, 100, 2)
    steps.load_state_dict(None, batch_size=2, images=60)
    assert first_position(steps) == 100
