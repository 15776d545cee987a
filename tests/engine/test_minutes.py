"""A training of SOLVER.MINUTES ends in time, by a clock of the tests' own."""

import re
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from timed_training import BUDGET, SETTINGS, Clock, MakeConfig, Seconds, train

from dyhead.d2.config import CfgNode
from dyhead.data.stream import TrainingBatches
from dyhead.engine.trainer import Trainer
from dyhead.errors import UserError

pytestmark = pytest.mark.usefixtures("without_pictures")


def steady(step: int) -> float:
    return 4.0


def slower_from_step_50(step: int) -> float:
    return 4.0 if step < 50 else 12.0


def faster_from_step_30(step: int) -> float:
    return 8.0 if step < 30 else 2.0


def slow_start(step: int) -> float:
    return 30.0 if step == 0 else 4.0


def compiled_first(step: int) -> float:
    return 20.0 if step < 6 else 1.0


def one_long_step(step: int) -> float:
    return 60.0 if step == 70 else 4.0


def in_bursts(step: int) -> float:
    return 13.0 if step % 4 == 3 else 1.0


MACHINES = [
    steady,
    slower_from_step_50,
    faster_from_step_30,
    slow_start,
    compiled_first,
    one_long_step,
    in_bursts,
]


@pytest.mark.parametrize("machine", MACHINES)
def test_a_run_ends_in_time_with_all_evaluations_and_a_whole_curve(
    make_config: MakeConfig, clock: Clock, machine: Seconds
) -> None:
    clock.step = machine
    trainer = train(make_config(**SETTINGS))
    assert clock.now == pytest.approx(BUDGET, rel=0.05)
    assert trainer.progress.share == 1 and trainer.finished_step + 1 == trainer.max_iter
    assert len(trainer.shares) == 4
    assert trainer.shares == pytest.approx([0.25, 0.5, 0.75, 1], abs=0.05)
    changes = [abs(b - a) for a, b in zip(trainer.rates, trainer.rates[1:], strict=False)]
    assert max(changes) < 0.2 * 0.1  # of the largest rate: no jump
    assert trainer.rates[-1] < 0.1 * 0.1
    top = trainer.rates.index(max(trainer.rates))
    assert trainer.rates[: top + 1] == sorted(trainer.rates[: top + 1])
    assert trainer.rates[top:] == sorted(trainer.rates[top:], reverse=True)


def test_slow_first_steps_do_not_end_the_warm_up(make_config: MakeConfig, clock: Clock) -> None:
    clock.step = compiled_first
    trainer = train(make_config(**SETTINGS))
    assert trainer.finished_step > 300
    assert trainer.rates.index(max(trainer.rates)) >= 10  # by their time it would be four


def compiles_for_minutes(step: int) -> float:
    return {0: 200.0, 1: 100.0}.get(step, 1.0)


def test_a_first_step_of_a_third_of_the_time_does_not_end_the_training(
    make_config: MakeConfig, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By its time, four evaluations of 87 images would leave room for nothing else."""
    monkeypatch.setattr("dyhead.engine.minutes._count_images", lambda _: 87)
    clock.step, clock.evaluation = compiles_for_minutes, 20.0
    trainer = train(make_config(**SETTINGS | {"SOLVER.IMS_PER_BATCH": 4}))
    assert trainer.finished_step > 100 and len(trainer.shares) == 4
    assert clock.now == pytest.approx(BUDGET, rel=0.05)


def test_the_last_steps_in_which_images_are_not_mixed_move_with_the_end(
    make_config: MakeConfig, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    planned: list[int] = []
    plan = TrainingBatches.plan

    def note(self: TrainingBatches, num_steps: int) -> None:
        planned.append(num_steps)
        plan(self, num_steps)

    monkeypatch.setattr(TrainingBatches, "plan", note)
    clock.step = slower_from_step_50
    trainer = train(make_config(**SETTINGS, **{"INPUT.AUG.MOSAIC.PROB": 0.5}))
    assert planned[0] == sys.maxsize  # nothing is known of the end yet
    assert planned[10] > planned[-1] == trainer.max_iter


def test_on_a_steady_machine_the_rates_are_those_of_as_many_steps(
    make_config: MakeConfig, clock: Clock, tmp_path: Path
) -> None:
    timed = train(make_config(**SETTINGS))
    steps = timed.finished_step + 1
    plain = make_config(
        **SETTINGS
        | {
            "SOLVER.MINUTES": 0.0,
            "SOLVER.MAX_ITER": steps,
            "SOLVER.WARMUP_ITERS": round(steps / 10),
            "TEST.EVAL_PERIOD": 0,
        },
        OUTPUT_DIR=str(tmp_path / "plain"),
    )
    assert timed.rates == pytest.approx(train(plain).rates, abs=0.1 * 0.1)


def test_progress_is_that_of_the_time_of_the_steps(make_config: MakeConfig, clock: Clock) -> None:
    clock.evaluation = clock.checkpoint = 0.0
    for seconds, share in train(make_config(**SETTINGS)).times:
        assert share == pytest.approx(seconds / BUDGET, abs=0.02)


def test_steps_of_the_schedule_come_at_their_share(make_config: MakeConfig, clock: Clock) -> None:
    steps = {"SOLVER.LR_SCHEDULER_NAME": "WarmupMultiStepLR", "SOLVER.STEPS": (600, 900)}
    rates = train(make_config(**SETTINGS | steps)).rates
    falls = [i / len(rates) for i in range(1, len(rates)) if rates[i] < rates[i - 1]]
    assert falls == pytest.approx([0.6, 0.9], abs=0.03)


def test_without_a_period_the_only_evaluation_is_at_the_end(
    make_config: MakeConfig, clock: Clock
) -> None:
    clock.evaluation = 5.0  # its guess: half a step's time for each of the six images
    trainer = train(make_config(**SETTINGS | {"TEST.EVAL_PERIOD": 0}))
    assert trainer.shares == [1] and clock.now == pytest.approx(BUDGET, rel=0.05)


def test_checkpoints_come_at_their_share(make_config: MakeConfig, clock: Clock) -> None:
    cfg = make_config(**SETTINGS | {"SOLVER.CHECKPOINT_PERIOD": 400})
    steps = train(cfg).finished_step + 1
    names = [path.name for path in Path(cfg.OUTPUT_DIR).glob("model_0*.pth")]
    done = sorted(int(name[6:13]) + 1 for name in names)
    assert [number / steps for number in done] == pytest.approx([0.4, 0.8], abs=0.03)
    assert Path(cfg.OUTPUT_DIR, "last_checkpoint").read_text() == "model_final.pth"


def test_patience_counts_the_evaluations(make_config: MakeConfig, clock: Clock) -> None:
    best = {"SOLVER.BEST.METRIC": "bbox/AP", "SOLVER.BEST.PATIENCE": 2}
    trainer = train(make_config(**SETTINGS | best))
    assert trainer.was_stopped_early and len(trainer.shares) == 3


def test_the_log_says_what_the_time_is_worth(
    make_config: MakeConfig, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO", "dyhead"):
        steps = train(make_config(**SETTINGS)).max_iter
    said = re.search(r"10 minutes are about (\d+) steps of 4 s \(8 are done\)", caplog.text)
    assert said is not None and int(said[1]) == pytest.approx(steps, rel=0.1)
    assert "10 minutes in steps of 2 images" in caplog.text


def test_evaluations_that_take_most_of_the_time_are_warned_of(
    make_config: MakeConfig, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    clock.evaluation = 200.0
    trainer = train(make_config(**SETTINGS))
    assert caplog.text.count("leave less than half of SOLVER.MINUTES") == 1
    assert (trainer.finished_step + 1) * 4 >= BUDGET / 2
    assert len(trainer.shares) == 4


def test_a_time_shorter_than_a_step_is_one_step(make_config: MakeConfig, clock: Clock) -> None:
    clock.step = lambda _: 100.0
    trainer = train(make_config(**SETTINGS | {"SOLVER.MINUTES": 0.5}))
    assert trainer.finished_step == 0 and trainer.shares == [1]


def test_two_lengths_are_refused(make_config: MakeConfig) -> None:
    with pytest.raises(UserError, match="EPOCHS 2 and SOLVER.MINUTES 10 are two lengths"):
        Trainer(make_config(**SETTINGS | {"SOLVER.EPOCHS": 2}))


class OwnSchedule(Trainer):
    @classmethod
    def build_lr_scheduler(cls, cfg: CfgNode, optimizer: torch.optim.Optimizer) -> Any:
        return torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.5)


def test_a_schedule_of_ones_own_is_refused(make_config: MakeConfig) -> None:
    with pytest.raises(UserError, match="and no ExponentialLR"):
        OwnSchedule(make_config(**SETTINGS))
