"""The best weights are kept, whatever comes after them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from dyhead.checkpoint.model_card import read_card
from dyhead.d2.config import CfgNode
from dyhead.engine.trainer import Trainer
from dyhead.errors import UserError
from dyhead.visualization.curves import read_metrics

MakeConfig = Callable[..., CfgNode]
SETTINGS: dict[str, Any] = {
    "SOLVER.MAX_ITER": 5,
    "SOLVER.CHECKPOINT_PERIOD": 1,
    "TEST.EVAL_PERIOD": 1,
    "SOLVER.BEST.METRIC": "bbox/AP",
}

pytestmark = pytest.mark.usefixtures("without_pictures")


@pytest.fixture
def scores(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """AP that the evaluations find, one after the other."""
    found: list[float] = []
    monkeypatch.setattr(
        Trainer, "test", lambda *_: {"bbox": {"AP": found.pop(0), "AP50": 1.0, "APs": float("nan")}}
    )
    return found


def train(cfg: CfgNode, resume: bool = False) -> Trainer:
    torch.manual_seed(0)
    trainer = Trainer(cfg)
    trainer.resume_or_load(resume=resume)
    trainer.train()
    return trainer


def weights(folder: str, name: str) -> dict[str, torch.Tensor]:
    return torch.load(Path(folder, f"{name}.pth"), weights_only=True)["model"]


def test_the_weights_of_the_best_evaluation_are_kept(
    make_config: MakeConfig, scores: list[float]
) -> None:
    scores += [10, 30, 20, 30, 5]
    cfg = make_config(**SETTINGS)
    train(cfg)
    best, second = (weights(cfg.OUTPUT_DIR, name) for name in ("model_best", "model_0000001"))
    assert all(torch.equal(best[name], weight) for name, weight in second.items())
    card = read_card(Path(cfg.OUTPUT_DIR, "model_best.pth"))
    assert card is not None and card.iteration == 2 and card.scores["bbox/AP"] == 30
    assert Path(cfg.OUTPUT_DIR, "last_checkpoint").read_text() == "model_final.pth"


def test_the_lowest_value_is_the_best_where_the_mode_says_so(
    make_config: MakeConfig, scores: list[float]
) -> None:
    scores += [10, 30, 20, 30, 5]
    cfg = make_config(**SETTINGS, **{"SOLVER.BEST.MODE": "min"})
    train(cfg)
    card = read_card(Path(cfg.OUTPUT_DIR, "model_best.pth"))
    assert card is not None and card.iteration == 5 and card.scores["bbox/AP"] == 5


def test_a_resumed_run_remembers_the_best(make_config: MakeConfig, scores: list[float]) -> None:
    scores += [10, 40, 20]
    train(make_config(**{**SETTINGS, "SOLVER.MAX_ITER": 3}))
    scores += [30, 35]
    cfg = make_config(**SETTINGS)
    train(cfg, resume=True)
    card = read_card(Path(cfg.OUTPUT_DIR, "model_best.pth"))
    assert card is not None and card.iteration == 2


def test_another_metric_is_looked_at_anew_in_a_resumed_run(
    make_config: MakeConfig, scores: list[float], caplog: pytest.LogCaptureFixture
) -> None:
    scores += [10, 40, 20]
    train(make_config(**{**SETTINGS, "SOLVER.MAX_ITER": 3}))
    scores += [30, 35]
    cfg = make_config(**{**SETTINGS, "SOLVER.BEST.METRIC": "bbox/AP50"})
    train(cfg, resume=True)
    card = read_card(Path(cfg.OUTPUT_DIR, "model_best.pth"))
    assert card is not None and (card.iteration, card.scores["bbox/AP50"]) == (3, 1)
    assert "was that of bbox/AP: from here on it is that of bbox/AP50" in caplog.text


@pytest.mark.parametrize("mode", ["max", "min"])
def test_a_longer_run_does_not_replace_the_best_by_worse_weights(
    make_config: MakeConfig, scores: list[float], mode: str
) -> None:
    """The evaluation after the last step, of which `model_final` was saved before, is the best."""
    sign = 1 if mode == "max" else -1
    settings = {**SETTINGS, "SOLVER.BEST.MODE": mode}
    scores += [50 + sign * gain for gain in (10, 20, 40)]
    train(make_config(**{**settings, "SOLVER.MAX_ITER": 3}))
    scores += [50 + sign * gain for gain in (25, 30)]
    cfg = make_config(**settings)
    train(cfg, resume=True)
    best = read_card(Path(cfg.OUTPUT_DIR, "model_best.pth"))
    assert best is not None and (best.iteration, best.scores["bbox/AP"]) == (3, 50 + sign * 40)
    final = read_card(Path(cfg.OUTPUT_DIR, "model_final.pth"))
    assert final is not None and final.scores["best/bbox/AP"] == (90 if mode == "max" else 40)


class Killed(BaseException):
    """The sudden end of a run."""


def train_and_die(cfg: CfgNode, steps: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Begin a training that is killed right after the hooks of a step, evaluation included."""
    trainer = Trainer(cfg)
    trainer.resume_or_load(resume=False)
    after_step = trainer._hooks[-1].after_step

    def go_on_or_die() -> None:
        after_step()
        if trainer.iter + 1 == steps:
            raise Killed

    monkeypatch.setattr(trainer._hooks[-1], "after_step", go_on_or_die)
    with pytest.raises(Killed):
        trainer.train()


def test_a_run_killed_after_its_first_evaluation_keeps_the_best(
    make_config: MakeConfig, scores: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    cfg = make_config(**SETTINGS)
    scores += [40]
    train_and_die(cfg, 1, monkeypatch)
    scores += [30, 20, 35, 10]
    train(cfg, resume=True)
    card = read_card(Path(cfg.OUTPUT_DIR, "model_best.pth"))
    assert card is not None and (card.iteration, card.scores["bbox/AP"]) == (1, 40)


def test_the_best_of_one_category_outlives_a_kill(
    make_config: MakeConfig, scores: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = [40, 30, 20, 35, 10]
    monkeypatch.setattr(
        Trainer, "test", lambda *_: {"bbox": {"AP": 1.0, "AP-plain": np.float32(found.pop(0))}}
    )
    cfg = make_config(**{**SETTINGS, "SOLVER.BEST.METRIC": "bbox/AP-plain"})
    train_and_die(cfg, 1, monkeypatch)
    train(cfg, resume=True)
    card = read_card(Path(cfg.OUTPUT_DIR, "model_best.pth"))
    assert card is not None and (card.iteration, card.scores["bbox/AP-plain"]) == (1, 40)


def train_and_go_back(cfg: CfgNode, scores: list[float], again: list[float]) -> None:
    """Train, and go on once more from the end of the second step, with other scores."""
    scores += [10, 20, 40, 30, 5]
    train(cfg)
    Path(cfg.OUTPUT_DIR, "last_checkpoint").write_text("model_0000001.pth")
    scores += again
    train(cfg, resume=True)


def test_the_best_of_steps_that_are_done_anew_is_forgotten(
    make_config: MakeConfig, scores: list[float]
) -> None:
    cfg = make_config(**SETTINGS)
    train_and_go_back(cfg, scores, [25, 30, 15])
    card = read_card(Path(cfg.OUTPUT_DIR, "model_best.pth"))
    assert card is not None and (card.iteration, card.scores["bbox/AP"]) == (4, 30)


def test_the_evaluation_of_the_step_that_a_run_goes_on_from_may_be_the_best(
    make_config: MakeConfig, scores: list[float]
) -> None:
    cfg = make_config(**SETTINGS)
    train_and_go_back(cfg, scores, [15, 12, 11])
    card = read_card(Path(cfg.OUTPUT_DIR, "model_best.pth"))
    assert card is not None and (card.iteration, card.scores["bbox/AP"]) == (2, 20)
    best, second = (weights(cfg.OUTPUT_DIR, name) for name in ("model_best", "model_0000001"))
    assert all(torch.equal(best[name], weight) for name, weight in second.items())


def test_a_final_evaluation_done_at_resume_is_of_the_last_step(
    make_config: MakeConfig, scores: list[float]
) -> None:
    cfg = make_config(**SETTINGS)
    scores += [1, 2, 3, 4, 5]
    train(cfg)
    scores += [5]
    assert train(cfg, resume=True).iter == 5
    assert max(read_metrics(Path(cfg.OUTPUT_DIR, "metrics.json"))) == 5


def test_without_a_metric_nothing_is_kept(make_config: MakeConfig, scores: list[float]) -> None:
    scores += [1, 2, 3, 4, 5]
    cfg = make_config(**{**SETTINGS, "SOLVER.BEST.METRIC": ""})
    train(cfg)
    assert not Path(cfg.OUTPUT_DIR, "model_best.pth").exists()


def test_an_unknown_metric_is_answered_by_the_known_ones_and_loses_no_step(
    make_config: MakeConfig, scores: list[float], caplog: pytest.LogCaptureFixture
) -> None:
    scores += [1] * 5
    settings = {**SETTINGS, "SOLVER.CHECKPOINT_PERIOD": 100}
    with (
        caplog.at_level("INFO", "dyhead"),
        pytest.raises(UserError, match=r"box/AP.* use one of bbox/AP, bbox/AP50"),
    ):
        train(make_config(**{**settings, "SOLVER.BEST.METRIC": "box/AP"}))
    assert "Step 1 is saved as model_0000000; --resume goes on." in caplog.text
    again = Trainer(make_config(**settings))
    again.resume_or_load(resume=True)
    assert again.start_iter == 1


def test_a_value_that_is_no_number_is_never_the_best(
    make_config: MakeConfig, scores: list[float], caplog: pytest.LogCaptureFixture
) -> None:
    scores += [1] * 5
    cfg = make_config(**{**SETTINGS, "SOLVER.BEST.METRIC": "bbox/APs"})
    train(cfg)
    assert "bbox/APs is not a number" in caplog.text
    assert not Path(cfg.OUTPUT_DIR, "model_best.pth").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"SOLVER.BEST.MODE": "largest"}, "MODE can't be 'largest'"),
        ({"SOLVER.BEST.PATIENCE": 1, "TEST.EVAL_PERIOD": 0}, "TEST.EVAL_PERIOD"),
        ({"SOLVER.BEST.PATIENCE": 1, "SOLVER.BEST.METRIC": ""}, "set SOLVER.BEST.METRIC"),
        ({"SOLVER.BEST.PATIENCE": -1}, "PATIENCE can't be -1"),
        ({"DATASETS.TEST": ()}, "METRIC 'bbox/AP' is a result .* DATASETS.TEST is empty"),
    ],
)
def test_settings_without_effect_are_refused(
    make_config: MakeConfig, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        Trainer(make_config(**{**SETTINGS, **changes}))


def test_training_stops_after_evaluations_that_were_not_better(
    make_config: MakeConfig, scores: list[float], caplog: pytest.LogCaptureFixture
) -> None:
    scores += [10, 20, 15, 20, 18, 99]
    cfg = make_config(**{**SETTINGS, "SOLVER.MAX_ITER": 9, "SOLVER.BEST.PATIENCE": 3})
    with caplog.at_level("INFO", "dyhead"):
        trainer = train(cfg)
    assert "Stopped early after 5 steps: bbox/AP was not better than 20.0000 in 3" in caplog.text
    assert trainer.finished_step == 4 and scores == [99]
    final = read_card(Path(cfg.OUTPUT_DIR, "model_final.pth"))
    assert final is not None and (final.iteration, final.scores["bbox/AP"]) == (5, 18)
    best = read_card(Path(cfg.OUTPUT_DIR, "model_best.pth"))
    assert best is not None and best.iteration == 2


@pytest.mark.parametrize(("patience", "is_said"), [(3, False), (4, True)])
def test_patience_that_cannot_act_is_told(
    make_config: MakeConfig, caplog: pytest.LogCaptureFixture, patience: int, is_said: bool
) -> None:
    """Four evaluations come before the end, of which the first is the best so far."""
    Trainer(make_config(**SETTINGS, **{"SOLVER.BEST.PATIENCE": patience}))
    assert ("cannot stop this training, which has 4 evaluations" in caplog.text) == is_said


def test_a_gain_below_the_least_one_does_not_count(
    make_config: MakeConfig, scores: list[float]
) -> None:
    scores += [10, 10.5, 10.9, 99]
    settings = {"SOLVER.MAX_ITER": 9, "SOLVER.BEST.PATIENCE": 2, "SOLVER.BEST.MIN_DELTA": 1.0}
    train(make_config(**{**SETTINGS, **settings}))
    assert scores == [99]


def test_a_run_that_stopped_early_goes_on_only_with_more_patience(
    make_config: MakeConfig, scores: list[float]
) -> None:
    scores += [20, 10, 10]
    settings = {**SETTINGS, "SOLVER.MAX_ITER": 6, "SOLVER.BEST.PATIENCE": 2}
    train(make_config(**settings))
    assert train(make_config(**settings), resume=True).finished_step == 2
    scores += [10, 10, 10]
    patient = {**settings, "SOLVER.BEST.PATIENCE": 5}
    assert train(make_config(**patient), resume=True).finished_step == 5


@pytest.mark.parametrize(
    ("before", "after", "steps"),
    [([20, 10], [10], 3), ([20, 30], [25, 25], 4), ([20], [10, 10], 3)],
    ids=["worse", "best so far", "first"],
)
def test_the_evaluation_of_the_step_that_a_run_goes_on_from_counts(
    make_config: MakeConfig,
    scores: list[float],
    monkeypatch: pytest.MonkeyPatch,
    before: list[float],
    after: list[float],
    steps: int,
) -> None:
    cfg = make_config(**{**SETTINGS, "SOLVER.MAX_ITER": 9, "SOLVER.BEST.PATIENCE": 2})
    scores += before
    train_and_die(cfg, len(before), monkeypatch)
    scores += [*after, 99, 99]
    assert train(cfg, resume=True).finished_step == steps - 1


def test_a_run_that_stops_where_it_resumes_ends_as_any_other(
    make_config: MakeConfig, scores: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after a kill between its last evaluation and `model_final`, or with less patience."""
    settings = {**SETTINGS, "SOLVER.MAX_ITER": 9}
    scores += [20, 10, 10]
    train_and_die(make_config(**settings, **{"SOLVER.BEST.PATIENCE": 5}), 3, monkeypatch)
    cfg = make_config(**settings, **{"SOLVER.BEST.PATIENCE": 2})
    for _ in range(2):
        assert train(cfg, resume=True).finished_step == 2
        final = read_card(Path(cfg.OUTPUT_DIR, "model_final.pth"))
        assert final is not None and (final.iteration, final.scores["bbox/AP"]) == (3, 10)
    last, end = (weights(cfg.OUTPUT_DIR, name) for name in ("model_0000002", "model_final"))
    assert all(torch.equal(end[name], weight) for name, weight in last.items())


def test_a_run_that_came_to_its_end_has_not_stopped_early(
    make_config: MakeConfig, scores: list[float], caplog: pytest.LogCaptureFixture
) -> None:
    scores += [20, 10, 10]
    cfg = make_config(**{**SETTINGS, "SOLVER.MAX_ITER": 3, "SOLVER.BEST.PATIENCE": 2})
    train(cfg)
    scores += [10]  # of the end, once more
    with caplog.at_level("INFO", "dyhead"):
        train(cfg, resume=True)
    assert scores == [] and "Stopped early" not in caplog.text


def test_no_evaluation_counts_twice(make_config: MakeConfig, scores: list[float]) -> None:
    """A run that stopped early saves its last evaluation in both its state and its card."""
    scores += [20, 10, 10]
    settings = {**SETTINGS, "SOLVER.MAX_ITER": 9}
    train(make_config(**settings, **{"SOLVER.BEST.PATIENCE": 2}))
    scores += [10, 10, 99]
    train(make_config(**settings, **{"SOLVER.BEST.PATIENCE": 4}), resume=True)
    assert scores == [99]


def checkpoints(folder: str) -> list[str]:
    return sorted(path.name for path in Path(folder).glob("model_*.pth"))


def test_the_last_checkpoints_are_kept(make_config: MakeConfig, scores: list[float]) -> None:
    scores += [9, 1, 1, 1, 1]
    cfg = make_config(**SETTINGS, **{"SOLVER.CHECKPOINTS_KEPT": 2})
    train(cfg)
    kept = ["model_0000003.pth", "model_0000004.pth", "model_best.pth", "model_final.pth"]
    assert checkpoints(cfg.OUTPUT_DIR) == kept


def test_a_resumed_run_counts_its_earlier_checkpoints(
    make_config: MakeConfig, scores: list[float]
) -> None:
    scores += [1] * 5
    train(make_config(**{**SETTINGS, "SOLVER.MAX_ITER": 4}))
    cfg = make_config(**SETTINGS, **{"SOLVER.CHECKPOINTS_KEPT": 2})
    scores += [1] * 5
    train(cfg, resume=True)
    kept = ["model_0000003.pth", "model_0000004.pth", "model_best.pth", "model_final.pth"]
    assert checkpoints(cfg.OUTPUT_DIR) == kept


def test_a_new_run_deletes_no_other_runs_checkpoints(
    make_config: MakeConfig, scores: list[float]
) -> None:
    scores += [1] * 9
    train(make_config(**{**SETTINGS, "SOLVER.MAX_ITER": 5}))
    scores[:] = [1] * 9
    cfg = make_config(**{**SETTINGS, "SOLVER.MAX_ITER": 3, "SOLVER.CHECKPOINTS_KEPT": 1})
    train(cfg)
    assert {"model_0000003.pth", "model_0000004.pth"} <= set(checkpoints(cfg.OUTPUT_DIR))


def test_a_resumed_run_deletes_no_other_runs_checkpoints(
    make_config: MakeConfig, scores: list[float]
) -> None:
    """Those of an earlier run in the same folder lie between the run's own."""
    scores += [1] * 9
    train(make_config(**SETTINGS | {"SOLVER.MAX_ITER": 2}))  # leaves 0 and 1
    settings = {**SETTINGS, "SOLVER.CHECKPOINTS_KEPT": 1, "SOLVER.CHECKPOINT_PERIOD": 3}
    scores[:] = [1] * 9
    train(make_config(**settings | {"SOLVER.MAX_ITER": 3}))  # leaves 2
    scores[:] = [1] * 9
    cfg = make_config(**settings | {"SOLVER.MAX_ITER": 7})
    train(cfg, resume=True)
    others, own = ["model_0000000.pth", "model_0000001.pth"], "model_0000005.pth"
    assert checkpoints(cfg.OUTPUT_DIR) == [*others, own, "model_best.pth", "model_final.pth"]
