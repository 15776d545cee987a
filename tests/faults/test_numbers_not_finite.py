"""A training whose numbers are not finite any more stops before it changes a weight."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from shown_faults import ShownFault
from toy_runs import ToyDetector

from dyhead.d2.config import CfgNode
from dyhead.engine.trainer import Trainer
from dyhead.safe_io.load import load_checkpoint_file

MakeConfig = Callable[..., CfgNode]


@pytest.mark.usefixtures("without_pictures", "own_catalogs")
@pytest.mark.parametrize(
    "what",
    [
        pytest.param("loss", marks=pytest.mark.fault("a NaN loss")),
        pytest.param("gradient", marks=pytest.mark.fault("an infinite gradient of a finite loss")),
    ],
)
def test_a_step_that_is_not_finite_ends_the_run_before_it_counts(
    make_config: MakeConfig, what: str, monkeypatch: pytest.MonkeyPatch, fault: ShownFault
) -> None:
    cfg = make_config(**{"SOLVER.MAX_ITER": 8})
    forward = ToyDetector.forward
    calls = [0]

    def spoilt(model: ToyDetector, batch: list[dict[str, Any]]) -> Any:
        result = forward(model, batch)
        calls[0] += model.training
        if model.training and calls[0] == 4:
            zero = (model.box * 0).sum()
            result["loss_cls"] = zero / zero if what == "loss" else torch.sqrt(zero)
        return result

    with monkeypatch.context() as patch:
        patch.setattr(ToyDetector, "forward", spoilt)
        trainer = Trainer(cfg)
        with fault.clear(), pytest.raises(FloatingPointError, match=r"\d\.png") as caught:
            trainer.train()
        assert "\n" not in str(caught.value).strip()
    with fault.nothing_lost():
        assert Path(cfg.OUTPUT_DIR, "last_checkpoint").read_text() == "model_0000001.pth"
        content = load_checkpoint_file(Path(cfg.OUTPUT_DIR, "model_0000001.pth"))
        assert all(bool(weight.isfinite().all()) for weight in content["model"].values())
        assert bool(trainer.model.state_dict()["box"].isfinite().all())
    with fault.survived():
        again = Trainer(cfg)
        again.resume_or_load(resume=True)
        again.train()
        assert Path(cfg.OUTPUT_DIR, "last_checkpoint").read_text() == "model_final.pth"
