"""The checkpoints of a training say of which detector they are, and how good it is."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from dyhead.checkpoint.model_card import ModelCard, read_card
from dyhead.config.load import load_config_text
from dyhead.d2.config import CfgNode
from dyhead.engine.trainer import Trainer

MakeConfig = Callable[..., CfgNode]
STEPS = {"SOLVER.MAX_ITER": 4, "SOLVER.CHECKPOINT_PERIOD": 1, "TEST.EVAL_PERIOD": 2}

pytestmark = pytest.mark.usefixtures("without_pictures")


@pytest.fixture(autouse=True)
def known_scores(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Scores that the evaluations find, one after the other."""
    names = ("AP", "AP-plain", "APs")
    found = [
        {"bbox": dict(zip(names, values, strict=True))}
        for values in ((50.0, 1.0, float("nan")), (40.0, 1.0, 2.0), (45.0, 1.0, 2.0))
    ]
    monkeypatch.setattr(Trainer, "test", lambda *_: found.pop(0))
    return found


def train(cfg: CfgNode, resume: bool = False) -> Trainer:
    trainer = Trainer(cfg)
    trainer.resume_or_load(resume=resume)
    trainer.train()
    return trainer


def card(cfg: CfgNode, name: str) -> ModelCard:
    found = read_card(Path(cfg.OUTPUT_DIR, f"{name}.pth"))
    assert found is not None
    return found


def test_a_card_tells_config_classes_and_sizes(make_config: MakeConfig) -> None:
    cfg = make_config()
    train(cfg)
    final = card(cfg, "model_final")
    assert (final.class_names, final.category_ids) == (("plain", "other"), (3, 7))
    assert (final.dataset, final.input_format) == ("rectangles", "BGR")
    assert (final.min_size, final.max_size) == (32, 1333)
    assert {"dyhead", "torch", "host"} <= final.versions.keys()
    assert load_config_text(final.config, "card").MODEL.META_ARCHITECTURE == "ToyDetector"


def test_scores_are_those_of_the_very_weights(make_config: MakeConfig) -> None:
    cfg = make_config(**STEPS)
    train(cfg)
    scores = {
        name: (card(cfg, name).iteration, card(cfg, name).scores)
        for name in ("model_0000000", "model_0000001", "model_0000002", "model_final")
    }
    best = {"best/bbox/AP": 50.0}
    assert scores == {
        "model_0000000": (1, {}),
        "model_0000001": (2, {"bbox/AP": 50.0, **best}),
        "model_0000002": (3, best),
        "model_final": (4, {"bbox/AP": 40.0, "bbox/APs": 2.0, **best}),
    }


def test_the_best_score_outlives_a_resumption(make_config: MakeConfig) -> None:
    train(make_config(**STEPS))
    cfg = make_config(**{**STEPS, "SOLVER.MAX_ITER": 5})
    assert train(cfg, resume=True).start_iter == 4
    assert card(cfg, "model_final").scores["bbox/AP"] == 45.0
    assert card(cfg, "model_final").scores["best/bbox/AP"] == 50.0


def test_a_stripped_final_model_is_smaller_and_resumed_from_the_one_before(
    make_config: MakeConfig,
) -> None:
    cfg = make_config(**STEPS, **{"SOLVER.CHECKPOINT_FINAL_STRIPPED": True})
    trained = train(cfg)
    final = torch.load(Path(cfg.OUTPUT_DIR, "model_final.pth"), weights_only=True)
    assert final.keys() == {"model", "dyhead"}
    assert torch.equal(final["model"]["box"], trained.model.box)
    assert card(cfg, "model_final").scores["bbox/AP"] == 40.0
    assert Path(cfg.OUTPUT_DIR, "last_checkpoint").read_text() == "model_0000003.pth"
    assert card(cfg, "model_0000003").scores["bbox/AP"] == 40.0
    longer = make_config(**{**STEPS, "SOLVER.MAX_ITER": 5})
    assert train(longer, resume=True).start_iter == 4
