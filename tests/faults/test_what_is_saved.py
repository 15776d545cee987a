"""Nothing that is not finite is saved, and a picture that cannot be drawn stops no run."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from shown_faults import ShownFault

from dyhead.d2.config import CfgNode
from dyhead.engine.trainer import Trainer

MakeConfig = Callable[..., CfgNode]


@pytest.mark.usefixtures("without_pictures")
@pytest.mark.parametrize(
    "what",
    [
        pytest.param("weights", marks=pytest.mark.fault("weights that overflow before saving")),
        pytest.param("momenta", marks=pytest.mark.fault("momenta that overflow before saving")),
    ],
)
def test_weights_that_overflow_are_not_saved_and_the_last_good_file_is_named(
    make_config: MakeConfig, what: str, monkeypatch: pytest.MonkeyPatch, fault: ShownFault
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
    with (
        fault.clear(),
        pytest.raises(
            FloatingPointError, match=rf"\({name}.*nothing was saved: {good} is the last"
        ),
    ):
        trainer.train()
    with fault.nothing_lost():
        assert Path(cfg.OUTPUT_DIR, "last_checkpoint").read_text() == "model_0000001.pth"
        assert not Path(cfg.OUTPUT_DIR, "model_0000003.pth").exists()
    with fault.survived():
        again = Trainer(cfg)
        again.resume_or_load(resume=True)
        assert again.start_iter == 2
        again.train()


@pytest.mark.fault("pictures that cannot be drawn")
def test_pictures_that_cannot_be_drawn_stop_no_run(
    make_config: MakeConfig,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    fault: ShownFault,
) -> None:
    def fail(*_: Any) -> None:
        raise OSError("No space left\non device")

    monkeypatch.setattr("dyhead.evaluation.reports.draw_mosaic", fail)
    monkeypatch.setattr("dyhead.engine.hooks.plot_curves", fail)
    monkeypatch.setattr("dyhead.run_report.run.write_own_report", fail)
    cfg = make_config(**{"TEST.REPORT": True})
    with fault.survived():
        Trainer(cfg).train()
    with fault.clear():
        assert caplog.text.count("No picture of") == 2
        assert "No report on this run: No space left on device" in caplog.text
        assert "No space left on device" in caplog.text
    with fault.nothing_lost():
        assert Path(cfg.OUTPUT_DIR, "inference", "ap.md").is_file()
        assert Path(cfg.OUTPUT_DIR, "model_final.pth").is_file()
