"""A signal ends a training after its step, saved, and a resumed run goes on from there."""

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from dyhead.d2.config import CfgNode
from dyhead.d2.engine import HookBase
from dyhead.engine import stops
from dyhead.engine.stops import STOP_SIGNALS, Stopped, StopSignals, interruptible
from dyhead.engine.trainer import Trainer

MakeConfig = Callable[..., CfgNode]

pytestmark = [
    pytest.mark.usefixtures("without_pictures"),
    pytest.mark.skipif(os.name != "posix", reason="needs signals that a process sends itself"),
]


class SignalAt(HookBase):
    """Sends this process a signal in a step."""

    def __init__(self, step: int, number: int) -> None:
        self.step, self.number = step, number

    def before_step(self) -> None:
        if self.trainer.iter == self.step:
            os.kill(os.getpid(), self.number)


def train(cfg: CfgNode, *hooks: HookBase, resume: bool = False) -> Trainer:
    torch.manual_seed(0)
    trainer = Trainer(cfg)
    trainer.register_hooks(hooks)
    trainer.resume_or_load(resume=resume)
    with StopSignals():
        trainer.train()
    return trainer


def tag(cfg: CfgNode) -> str:
    return Path(cfg.OUTPUT_DIR, "last_checkpoint").read_text()


@pytest.mark.parametrize("number", STOP_SIGNALS, ids=lambda number: signal.Signals(number).name)
def test_the_step_is_finished_saved_and_said(
    make_config: MakeConfig, tmp_path: Path, caplog: pytest.LogCaptureFixture, number: int
) -> None:
    settings = {"SOLVER.CHECKPOINT_PERIOD": 100, "SOLVER.MAX_ITER": 6}
    whole = train(make_config(**settings, OUTPUT_DIR=str(tmp_path / "whole")))
    cfg = make_config(**settings)
    before = signal.getsignal(number)
    with caplog.at_level("INFO", "dyhead"), pytest.raises(Stopped) as stopped:
        train(cfg, SignalAt(2, number))
    assert stopped.value.code == (130 if number == signal.SIGINT else 143)
    assert tag(cfg) == "model_0000002.pth"
    name = signal.Signals(number).name
    assert f"Stopped by {name} at step 3, saved {cfg.OUTPUT_DIR}/model_0000002.pth" in caplog.text
    assert "--resume goes on" in caplog.text and "Training failed" not in caplog.text
    assert signal.getsignal(number) is before
    resumed = train(cfg, resume=True)
    assert resumed.start_iter == 3
    for key, value in whole.model.state_dict().items():
        assert torch.equal(resumed.model.state_dict()[key], value)


def test_a_step_that_is_saved_is_not_saved_again(
    make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    cfg = make_config(**{"SOLVER.CHECKPOINT_PERIOD": 2})
    trainer = Trainer(cfg)
    trainer.register_hooks([SignalAt(1, signal.SIGTERM)])
    saved: list[str] = []
    save = trainer.checkpointer.save
    monkeypatch.setattr(
        trainer.checkpointer, "save", lambda name, **more: (saved.append(name), save(name, **more))
    )
    with StopSignals(), pytest.raises(Stopped):
        trainer.train()
    assert saved == ["model_0000001"]


def test_an_evaluation_is_broken_off_and_its_step_saved(
    make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    def test(*_: Any) -> None:
        with interruptible():
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(30)
            pytest.fail("the evaluation went on")

    cfg = make_config(**{"TEST.EVAL_PERIOD": 3, "SOLVER.CHECKPOINT_PERIOD": 100})
    monkeypatch.setattr(Trainer, "test", test)
    started = time.monotonic()
    with pytest.raises(Stopped):
        train(cfg)
    assert time.monotonic() - started < 20
    assert tag(cfg) == "model_0000002.pth"


def test_a_signal_while_the_weights_are_another_form_of_themselves_is_resumed_from(
    make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An evaluation folds norms into convolutions; what is saved is the model as it is trained."""

    def fold(model: Any) -> Callable[[], None]:
        own = model.score
        model.score = torch.nn.Linear(2, 3)
        os.kill(os.getpid(), signal.SIGTERM)
        return lambda: setattr(model, "score", own)

    optimizing = "dyhead.evaluation.inference_optimization.fold_frozen_norms"
    cfg = make_config(**{"TEST.EVAL_PERIOD": 3, "SOLVER.CHECKPOINT_PERIOD": 100})
    with monkeypatch.context() as patch:
        patch.setattr(optimizing, fold)
        with pytest.raises(Stopped):
            train(cfg)
    assert tag(cfg) == "model_0000002.pth"
    assert train(cfg, resume=True).start_iter == 3


def test_the_evaluation_at_the_end_is_made_up_for_by_a_resumed_run(make_config: MakeConfig) -> None:
    class SignalAtTheEnd(HookBase):
        def after_step(self) -> None:
            if self.trainer.iter == 3:
                os.kill(os.getpid(), signal.SIGTERM)

    cfg = make_config()
    trainer = Trainer(cfg)
    trainer.register_hooks([SignalAtTheEnd()])
    with StopSignals(), pytest.raises(Stopped):
        trainer.train()
    assert tag(cfg) == "model_final.pth" and not hasattr(trainer, "_last_eval_results")
    assert "AP" in train(cfg, resume=True)._last_eval_results["bbox"]


def test_a_second_ctrl_c_stops_at_once_but_not_its_echo(monkeypatch: pytest.MonkeyPatch) -> None:
    with StopSignals() as signals:
        for _ in range(2):  # as of a terminal and a launcher
            os.kill(os.getpid(), signal.SIGINT)
        assert signals.requested == signal.SIGINT
        monkeypatch.setattr(stops, "_SAME_REQUEST", -1.0)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGTERM)  # the launcher's, while the step is being saved


def test_a_step_that_a_killed_worker_fails_is_left_unsaved(make_config: MakeConfig) -> None:
    class FailAt(HookBase):
        def before_step(self) -> None:
            if self.trainer.iter == 3:
                os.kill(os.getpid(), signal.SIGTERM)
                raise RuntimeError("DataLoader worker (pid 7) is killed by signal: Terminated.")

    cfg = make_config()
    with pytest.raises(Stopped) as stopped:
        train(cfg, FailAt())
    assert stopped.value.code == 143 and tag(cfg) == "model_0000001.pth"
