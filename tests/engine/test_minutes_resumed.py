"""A training of SOLVER.MINUTES that goes on has the rest of its time."""

import os
import signal

import pytest
from timed_training import BUDGET, SETTINGS, Clock, MakeConfig, TimedTrainer, train

from dyhead.d2.engine import HookBase
from dyhead.engine.stops import Stopped, StopSignals

pytestmark = pytest.mark.usefixtures("without_pictures")


class StopAfter(HookBase):
    """Asks for an orderly stop in a step."""

    def __init__(self, step: int) -> None:
        self.step = step

    def before_step(self) -> None:
        if self.trainer.iter == self.step:
            os.kill(os.getpid(), signal.SIGTERM)


@pytest.mark.skipif(os.name != "posix", reason="needs signals that a process sends itself")
@pytest.mark.parametrize("step", [0, 3, 40, 100])
def test_a_resumed_run_has_the_rest_of_the_time(
    make_config: MakeConfig, clock: Clock, step: int
) -> None:
    cfg = make_config(**SETTINGS)
    first = TimedTrainer(cfg)
    first.register_hooks([StopAfter(step)])
    with pytest.raises(Stopped), StopSignals():
        first.train()
    clock.step = lambda _: 5.0  # another machine
    resumed = TimedTrainer(cfg)
    resumed.resume_or_load(resume=True)
    places = [trainer.run_state.state_dict(step)["stream"] for trainer in (first, resumed)]
    assert resumed.start_iter == step + 1 and places[0] == places[1]
    resumed.train()
    assert resumed.rates[0] == first.optimizer.param_groups[0]["lr"]
    assert clock.now == pytest.approx(BUDGET, rel=0.05)
    assert resumed.progress.share == 1 and resumed.rates[-1] < 0.1 * 0.1


def test_a_run_that_came_to_its_end_goes_on_only_with_more_time(
    make_config: MakeConfig, clock: Clock
) -> None:
    steps = train(make_config(**SETTINGS)).finished_step
    assert train(make_config(**SETTINGS), resume=True).finished_step == steps
    before = clock.now
    longer = train(make_config(**SETTINGS | {"SOLVER.MINUTES": 20.0}), resume=True)
    assert longer.finished_step > 1.8 * steps
    assert longer.times[0][1] == pytest.approx(0.5, abs=0.02)
    assert clock.now - before == pytest.approx(600, rel=0.1)


def test_less_time_than_is_used_is_refused(make_config: MakeConfig, clock: Clock) -> None:
    train(make_config(**SETTINGS))
    with pytest.raises(ValueError, match=r"it has trained 9\.\d minutes, and SOLVER.MINUTES is 2"):
        train(make_config(**SETTINGS | {"SOLVER.MINUTES": 2.0}), resume=True)


@pytest.mark.parametrize("steps", [4, 1000])
def test_a_run_of_steps_may_go_on_for_a_time(
    make_config: MakeConfig, clock: Clock, caplog: pytest.LogCaptureFixture, steps: int
) -> None:
    train(make_config(**SETTINGS | {"SOLVER.MINUTES": 0.0, "SOLVER.MAX_ITER": 4}))
    before = clock.now
    # as many as are done already, or more
    trainer = train(make_config(**SETTINGS | {"SOLVER.MAX_ITER": steps}), resume=True)
    assert "The checkpoint tells no time" in caplog.text
    assert trainer.start_iter == 4 and clock.now - before == pytest.approx(BUDGET, rel=0.05)
