"""Settings that changed at a resume act from there on, and are said."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from dyhead.d2.config import CfgNode
from dyhead.engine.trainer import Trainer

MakeConfig = Callable[..., CfgNode]
SETTINGS: dict[str, Any] = {
    "SOLVER.MAX_ITER": 8,
    "SOLVER.STEPS": (6,),
    "SOLVER.BASE_LR": 0.1,
    "SOLVER.CHECKPOINT_PERIOD": 4,
}

pytestmark = pytest.mark.usefixtures("without_pictures")


def started(cfg: CfgNode, resume: bool = True) -> Trainer:
    torch.manual_seed(0)
    trainer = Trainer(cfg)
    trainer.resume_or_load(resume=resume)
    return trainer


@pytest.fixture
def four_steps(make_config: MakeConfig) -> None:
    started(make_config(**{**SETTINGS, "SOLVER.MAX_ITER": 4}), resume=False).train()


def rate(trainer: Trainer) -> float:
    return trainer.optimizer.param_groups[0]["lr"]


@pytest.mark.usefixtures("four_steps")
def test_a_changed_rate_is_in_force_and_said(
    make_config: MakeConfig, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO", "dyhead"):
        trainer = started(make_config(**{**SETTINGS, "SOLVER.BASE_LR": 0.02}))
    assert rate(trainer) == pytest.approx(0.02)
    assert "SOLVER.BASE_LR from 0.1 to 0.02" in caplog.text
    trainer.train()
    assert rate(trainer) == pytest.approx(0.002)  # after the schedule's step at 6


@pytest.mark.usefixtures("four_steps")
def test_an_unchanged_rate_is_that_of_the_checkpoint_and_nothing_is_said(
    make_config: MakeConfig, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO", "dyhead"):
        trainer = started(make_config(**{**SETTINGS, "SOLVER.MAX_ITER": 4}))
    assert rate(trainer) == 0.1
    assert "Changed at --resume" not in caplog.text


@pytest.mark.usefixtures("four_steps")
@pytest.mark.parametrize(
    ("key", "value", "option"),
    [
        ("SOLVER.WEIGHT_DECAY", 0.5, "weight_decay"),
        ("SOLVER.MOMENTUM", 0.25, "momentum"),
        ("SOLVER.NESTEROV", True, "nesterov"),
    ],
)
def test_other_settings_of_the_optimizer_are_in_force(
    make_config: MakeConfig, key: str, value: Any, option: str
) -> None:
    trainer = started(make_config(**{**SETTINGS, key: value}))
    assert trainer.optimizer.param_groups[0][option] == value


@pytest.mark.usefixtures("four_steps")
def test_a_changed_schedule_is_in_force(make_config: MakeConfig) -> None:
    trainer = started(make_config(**{**SETTINGS, "SOLVER.STEPS": (2,), "SOLVER.GAMMA": 0.5}))
    assert rate(trainer) == pytest.approx(0.05)


@pytest.mark.usefixtures("four_steps")
def test_weights_move_by_the_changed_rate(make_config: MakeConfig) -> None:
    trainer = started(make_config(**{**SETTINGS, "SOLVER.BASE_LR": 1e-30, "SOLVER.MAX_ITER": 5}))
    before = trainer.model.box.detach().clone()
    trainer.train()
    assert torch.equal(trainer.model.box, before)


@pytest.mark.usefixtures("four_steps")
def test_fewer_steps_than_are_done_are_refused(make_config: MakeConfig) -> None:
    with pytest.raises(ValueError, match="it has done 4 steps, and SOLVER.MAX_ITER is 3"):
        started(make_config(**{**SETTINGS, "SOLVER.MAX_ITER": 3}))


@pytest.mark.usefixtures("four_steps")
def test_a_changed_batch_is_in_force_and_said(
    make_config: MakeConfig, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO", "dyhead"):
        trainer = started(make_config(**{**SETTINGS, "SOLVER.IMS_PER_BATCH": 3}))
    assert "SOLVER.IMS_PER_BATCH from 2 to 3" in caplog.text
    trainer.train()
    assert trainer.run_state.state_dict(7)["stream"]["next"] == 4 * 2 + 4 * 3


class OwnSchedule(Trainer):
    @classmethod
    def build_lr_scheduler(cls, cfg: CfgNode, optimizer: torch.optim.Optimizer) -> Any:
        return torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.5)


def test_a_schedule_of_ones_own_goes_on_and_a_warning_tells_of_another_rate(
    make_config: MakeConfig, caplog: pytest.LogCaptureFixture
) -> None:
    first = OwnSchedule(make_config(**{**SETTINGS, "SOLVER.MAX_ITER": 4}))
    first.train()
    again = OwnSchedule(make_config(**{**SETTINGS, "SOLVER.BASE_LR": 0.7}))
    again.resume_or_load(resume=True)
    assert rate(again) == pytest.approx(0.1 * 0.5**4)
    assert "base rates stay the checkpoint's" in caplog.text
