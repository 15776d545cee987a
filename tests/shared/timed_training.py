"""Trainings by a clock that a test sets."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from dyhead.checkpoint.safe_checkpointer import SafeCheckpointer
from dyhead.d2.config import CfgNode
from dyhead.d2.engine import HookBase
from dyhead.engine.stops import StopSignals
from dyhead.engine.trainer import Trainer

MakeConfig = Callable[..., CfgNode]
Seconds = Callable[[int], float]
BUDGET = 600.0  # seconds
SETTINGS: dict[str, Any] = {
    "SOLVER.MINUTES": BUDGET / 60,
    "SOLVER.MAX_ITER": 1000,
    "SOLVER.WARMUP_ITERS": 100,
    "SOLVER.CHECKPOINT_PERIOD": 500,
    "SOLVER.LR_SCHEDULER_NAME": "WarmupCosineLR",
    "SOLVER.BASE_LR": 0.1,
    "TEST.EVAL_PERIOD": 250,
}


class Clock:
    """Time that passes when a test says so."""

    def __init__(self) -> None:
        self.now = 0.0
        self.evaluation = 10.0
        self.checkpoint = 2.0
        self.step: Seconds = lambda _: 4.0

    def __call__(self) -> float:
        return self.now


class TimedTrainer(Trainer):
    """Steps and evaluations take the time of a clock, and leave what they saw."""

    clock: Any

    def __init__(self, cfg: CfgNode) -> None:
        self.rates: list[float] = []
        self.shares: list[float] = []  # at the evaluations
        self.times: list[tuple[float, float]] = []  # of all progress: seconds, share
        super().__init__(cfg)
        self.register_hooks([Trail(self)])

    def run_step(self) -> None:
        """Let the time of a step pass, and note its rate."""
        self.clock.now += self.clock.step(self.iter)
        self.rates.append(self.optimizer.param_groups[0]["lr"])
        super().run_step()

    def test(self, *_: Any) -> dict[str, Any]:  # type: ignore[override]
        """Let the time of an evaluation pass, and note the progress."""
        self.clock.now += self.clock.evaluation
        self.shares.append(self.progress.share)
        return {"bbox": {"AP": 1.0}}


class Trail(HookBase):
    """Notes the progress by the clock."""

    def __init__(self, trainer: TimedTrainer) -> None:
        self.times, self.progress = trainer.times, trainer.progress

    def after_step(self) -> None:
        """Note it."""
        self.times.append((self.trainer.clock.now, self.progress.share))


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The time that trainings, evaluations and checkpoints of a test take."""
    clock = Clock()
    monkeypatch.setattr(TimedTrainer, "clock", clock, raising=False)
    save = SafeCheckpointer.save

    def take_time(self: SafeCheckpointer, *args: Any, **kwargs: Any) -> None:
        clock.now += clock.checkpoint
        save(self, *args, **kwargs)

    monkeypatch.setattr(SafeCheckpointer, "save", take_time)
    return clock


def train(cfg: CfgNode, *hooks: HookBase, resume: bool = False) -> TimedTrainer:
    """Train with further hooks, to the end."""
    torch.manual_seed(0)
    trainer = TimedTrainer(cfg)
    trainer.register_hooks(hooks)
    trainer.resume_or_load(resume=resume)
    with StopSignals():
        trainer.train()
    return trainer
