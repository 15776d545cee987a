"""Nothing that is not finite is saved, and a picture that cannot be drawn stops no run."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from dyhead.d2.config import CfgNode
from dyhead.engine.trainer import Trainer

MakeConfig = Callable[..., CfgNode]


@pytest.mark.usefixtures("without_pictures")
@pytest.mark.parametrize("what", ["weights", "momenta"])
def test_weights_that_overflow_are_not_saved_and_the_last_good_file_is_named(
    make_config: MakeConfig, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    cfg = make_config(**{"SOLVER.MAX_ITER": 8})
    trainer = Trainer(cfg)
    write = trainer.checkpointer._write

    def spoil(name: str, content: Any, *more: Any, **options: Any) -> None:
        if name == "model_0000003":
            part = content["trainer"]["_trainer"]["optimizer"]["state"][0]["momentum_buffer"]
            (content["model"]["box"] if what == "weights" else part).fill_(torch.inf)
        write(name, content, *more, **options)

    monkeypatch.setattr(trainer.checkpointer, "_write", spoil)
    good = f"{cfg.OUTPUT_DIR}/model_0000001.pth"
    name = (
        "model.box" if what == "weights" else "trainer._trainer.optimizer.state.0.momentum_buffer"
    )
    with pytest.raises(
        FloatingPointError, match=rf"\({name}.*nothing was saved: {good} is the last"
    ):
        trainer.train()
    assert Path(cfg.OUTPUT_DIR, "last_checkpoint").read_text() == "model_0000001.pth"
    assert not Path(cfg.OUTPUT_DIR, "model_0000003.pth").exists()
    again = Trainer(cfg)
    again.resume_or_load(resume=True)
    assert again.start_iter == 2


def test_pictures_that_cannot_be_drawn_stop_no_run(
    make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: Any) -> None:
        raise OSError("No space left\non device")

    monkeypatch.setattr("dyhead.evaluation.reports.draw_mosaic", fail)
    monkeypatch.setattr("dyhead.engine.hooks.plot_curves", fail)
    cfg = make_config()
    Trainer(cfg).train()
    assert caplog.text.count("No picture of") == 2 and "No space left on device" in caplog.text
    assert Path(cfg.OUTPUT_DIR, "inference", "ap.md").is_file()
