"""The average of the weights is what is evaluated and saved; the training goes on beside it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from dyhead.d2.config import CfgNode
from dyhead.d2.engine import HookBase
from dyhead.engine.trainer import Trainer
from dyhead.engine.weight_average import WeightAverage
from dyhead.errors import UserError

MakeConfig = Callable[..., CfgNode]
SETTINGS: dict[str, Any] = {
    "SOLVER.BASE_LR": 0.5,
    "SOLVER.MAX_ITER": 8,
    "SOLVER.CHECKPOINT_PERIOD": 4,
    "SOLVER.EMA.DECAY": 0.5,
}
ENABLED: dict[str, Any] = {**SETTINGS, "SOLVER.EMA.ENABLED": True}

pytestmark = pytest.mark.usefixtures("without_pictures")


class Trail(HookBase):
    """Notes the weights after each step."""

    def __init__(self, model: nn.Module) -> None:
        self.model, self.steps = model, [snapshot(model)]

    def after_step(self) -> None:
        self.steps.append(snapshot(self.model))


def snapshot(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


def train(cfg: CfgNode, resume: bool = False) -> tuple[Trainer, list[dict[str, torch.Tensor]]]:
    torch.manual_seed(0)
    trainer = Trainer(cfg)
    trainer.resume_or_load(resume=resume)
    trail = Trail(trainer.model)
    trainer.register_hooks([trail])
    trainer.train()
    return trainer, trail.steps


def averaged(steps: list[dict[str, torch.Tensor]], decay: float) -> dict[str, torch.Tensor]:
    """The average by its definition, number by number."""
    average = steps[0]
    for n, weights in enumerate(steps[1:]):
        d = min(decay, (1 + n) / (10 + n))
        average = {name: d * average[name] + (1 - d) * value for name, value in weights.items()}
    return average


def saved(cfg: CfgNode, name: str) -> dict[str, torch.Tensor]:
    return torch.load(Path(cfg.OUTPUT_DIR, f"{name}.pth"), weights_only=True)["model"]


def assert_equal(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> None:
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_checkpoints_hold_the_average_of_all_steps(make_config: MakeConfig) -> None:
    cfg = make_config(**ENABLED)
    _, steps = train(cfg)
    for name, number in (("model_0000003", 4), ("model_final", 8)):
        expected = averaged(steps[: number + 1], 0.5)
        for weight, value in saved(cfg, name).items():
            torch.testing.assert_close(value, expected[weight])
    assert not torch.equal(steps[8]["box"], saved(cfg, "model_final")["box"])


def test_the_average_is_evaluated_and_the_training_does_not_see_it(
    make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    evaluated: list[dict[str, torch.Tensor]] = []

    def test(_: CfgNode, model: nn.Module) -> dict[str, Any]:
        evaluated.append(snapshot(model))
        return {"bbox": {"AP": 1.0}}

    monkeypatch.setattr(Trainer, "test", staticmethod(test))
    cfg = make_config(**ENABLED, **{"TEST.EVAL_PERIOD": 4, "SOLVER.BEST.METRIC": "bbox/AP"})
    _, steps = train(cfg)
    _, plain_steps = train(make_config(**SETTINGS, OUTPUT_DIR=str(tmp_path / "plain")))
    for step, plain in zip(steps, plain_steps, strict=True):
        assert_equal(step, plain)
    assert_equal(evaluated[0], saved(cfg, "model_0000003"))
    assert_equal(evaluated[0], saved(cfg, "model_best"))
    assert_equal(evaluated[1], saved(cfg, "model_final"))


def test_a_resumed_run_has_the_average_of_an_uninterrupted_one(
    make_config: MakeConfig, tmp_path: Path
) -> None:
    whole_cfg = make_config(**ENABLED, OUTPUT_DIR=str(tmp_path / "whole"))
    whole, _ = train(whole_cfg)
    train(make_config(**{**ENABLED, "SOLVER.MAX_ITER": 4}))
    cfg = make_config(**ENABLED)
    resumed, _ = train(cfg, resume=True)
    assert_equal(resumed.model.state_dict(), whole.model.state_dict())
    assert_equal(saved(cfg, "model_final"), saved(whole_cfg, "model_final"))


def test_without_it_a_resumed_run_goes_on_from_the_weights_of_the_training(
    make_config: MakeConfig, caplog: pytest.LogCaptureFixture
) -> None:
    _, steps = train(make_config(**{**ENABLED, "SOLVER.MAX_ITER": 4}))
    trainer = Trainer(make_config(**SETTINGS))
    trainer.resume_or_load(resume=True)
    assert_equal(trainer.model.state_dict(), steps[-1])
    assert "goes on without the average" in caplog.text


def test_it_may_begin_at_a_resume(make_config: MakeConfig) -> None:
    train(make_config(**{**SETTINGS, "SOLVER.MAX_ITER": 4}))
    cfg = make_config(**ENABLED)
    _, steps = train(cfg, resume=True)
    expected = averaged(steps, 0.5)
    for weight, value in saved(cfg, "model_final").items():
        torch.testing.assert_close(value, expected[weight])


def test_an_average_of_other_weights_is_refused(make_config: MakeConfig) -> None:
    cfg = make_config(**{**ENABLED, "SOLVER.MAX_ITER": 4})
    train(cfg)
    path = Path(cfg.OUTPUT_DIR, "model_final.pth")
    content = torch.load(path, weights_only=True)
    content["trainer"]["average"]["training"]["box"] = torch.zeros(5)
    torch.save(content, path)
    with pytest.raises(ValueError, match=r"weight box in training has the shape \(5,\)"):
        Trainer(make_config(**ENABLED)).resume_or_load(resume=True)


def test_buffers_are_averaged_and_counters_copied() -> None:
    norm = nn.BatchNorm2d(2)
    average = WeightAverage(norm, 0.9)
    average.begin()
    norm.running_mean.fill_(10.0)
    norm.num_batches_tracked.fill_(7)
    average.update()
    with average.applied():
        assert norm.num_batches_tracked == 7
        torch.testing.assert_close(norm.running_mean, torch.full((2,), 9.0))
    assert norm.running_mean[0] == 10.0


def test_an_error_within_the_context_gives_the_weights_back() -> None:
    layer = nn.Linear(1, 1, bias=False)
    average = WeightAverage(layer, 0.9)
    average.begin()
    layer.weight.data.fill_(3.0)
    average.update()
    with pytest.raises(KeyError), average.applied():
        raise KeyError
    assert layer.weight.item() == 3.0


@pytest.mark.parametrize("decay", [0.0, 1.0, -1.0])
def test_a_decay_that_averages_nothing_is_refused(make_config: MakeConfig, decay: float) -> None:
    with pytest.raises(UserError, match="SOLVER.EMA.DECAY"):
        Trainer(make_config(**{**ENABLED, "SOLVER.EMA.DECAY": decay}))
