"""The trainer leaves its files, resumes and stops safely, on a toy detector."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from stop_hook import StopAt

from dyhead.checkpoint import SafeCheckpointer
from dyhead.d2.config import CfgNode
from dyhead.d2.engine import DefaultTrainer, HookBase
from dyhead.d2.utils import comm
from dyhead.engine.input_pictures import InputPicturesHook
from dyhead.engine.trainer import Trainer
from dyhead.errors import UserError

MakeConfig = Callable[..., CfgNode]


def train(cfg: CfgNode, resume: bool = False) -> Trainer:
    torch.manual_seed(0)
    trainer = Trainer(cfg)
    trainer.resume_or_load(resume=resume)
    trainer.train()
    return trainer


def records(cfg: CfgNode) -> list[dict[str, Any]]:
    lines = Path(cfg.OUTPUT_DIR, "metrics.json").read_text().splitlines()
    return [json.loads(line) for line in lines]


def test_what_a_run_leaves(make_config: MakeConfig) -> None:
    cfg = make_config()
    train(cfg)
    left = {str(p.relative_to(cfg.OUTPUT_DIR)) for p in Path(cfg.OUTPUT_DIR).rglob("*")}
    assert {
        "metrics.json",
        "last_checkpoint",
        "model_0000001.pth",
        "model_final.pth",
        "inference/coco_instances_results.json",
        "inference/ap.md",
        "inference/predictions.png",
        "curves.png",
    } <= left
    assert any(name.startswith("events.out.tfevents") for name in left)
    assert "bbox/AP" in records(cfg)[-1]
    assert any("total_loss" in record for record in records(cfg))


@pytest.mark.usefixtures("without_pictures")
def test_ap_is_recorded_after_each_evaluation(make_config: MakeConfig) -> None:
    cfg = make_config(**{"TEST.EVAL_PERIOD": 20, "SOLVER.MAX_ITER": 40})
    train(cfg)
    assert [r["iteration"] for r in records(cfg) if "bbox/AP" in r] == [19, 40]


@pytest.mark.usefixtures("without_pictures")
def test_ap_table_has_every_category(make_config: MakeConfig) -> None:
    cfg = make_config()
    train(cfg)
    table = Path(cfg.OUTPUT_DIR, "inference", "ap.md").read_text()
    assert "AP50" in table and "| plain" in table and "| other" in table


@pytest.mark.usefixtures("without_pictures")
def test_several_test_sets_keep_their_own_reports(
    make_config: MakeConfig, rectangles: list[str]
) -> None:
    again = ["rectangles_again", *rectangles[1:]]
    cfg = make_config(
        **{
            "DATASETS.COCO_JSON": [rectangles, again],
            "DATASETS.TEST": ("rectangles", "rectangles_again"),
        }
    )
    train(cfg)
    for name in cfg.DATASETS.TEST:
        assert Path(cfg.OUTPUT_DIR, "inference", name, "ap.md").is_file()
    assert "rectangles_again/bbox/AP" in records(cfg)[-1]


@pytest.mark.usefixtures("without_pictures")
def test_resumed_run_equals_an_uninterrupted_one(make_config: MakeConfig, tmp_path: Path) -> None:
    solver = {"SOLVER.OPTIMIZER": "ADAMW", "SOLVER.IMS_PER_BATCH": 6, "SOLVER.BASE_LR": 0.1}
    solver |= {"SOLVER.LR_SCHEDULER_NAME": "WarmupCosineLR", "INPUT.RANDOM_FLIP": "none"}
    whole = train(make_config(**solver, OUTPUT_DIR=str(tmp_path / "whole")))

    cfg = make_config(**solver)
    torch.manual_seed(0)
    stopped = Trainer(cfg)
    stopped.register_hooks([StopAt(3)])
    with pytest.raises(KeyboardInterrupt):
        stopped.train()
    resumed = train(cfg, resume=True)
    assert resumed.start_iter == 2  # the latest checkpoint is that of step 1
    for name, value in whole.model.state_dict().items():
        torch.testing.assert_close(resumed.model.state_dict()[name], value)


@pytest.mark.usefixtures("without_pictures")
def test_resume_without_checkpoint_starts_from_the_weights(
    make_config: MakeConfig, tmp_path: Path
) -> None:
    first = train(make_config(OUTPUT_DIR=str(tmp_path / "first")))
    weights = str(tmp_path / "first" / "model_final.pth")
    trainer = Trainer(make_config(**{"MODEL.WEIGHTS": weights}))
    trainer.resume_or_load(resume=True)
    assert trainer.start_iter == 0
    assert torch.equal(trainer.model.box, first.model.box)


@pytest.mark.usefixtures("without_pictures")
def test_nan_stops_with_images_named_and_the_checkpoint_intact(make_config: MakeConfig) -> None:
    cfg = make_config(**{"SOLVER.MAX_ITER": 20})
    trainer = Trainer(cfg)
    model = trainer.model

    def spoil(_: Any, batch: Any, losses: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        factor = math.nan if trainer.iter == 3 else 1.0
        return {name: loss * factor for name, loss in losses.items()}

    handle = model.register_forward_hook(spoil)
    model._forward_hooks.move_to_end(handle.id, last=False)
    with pytest.raises(FloatingPointError, match=r"Step 3: .*\d\.png"):
        trainer.train()
    again = Trainer(cfg)
    again.resume_or_load(resume=True)
    assert again.start_iter == 2
    assert torch.isfinite(again.model.box).all()


def test_one_line_tells_what_is_about_to_happen(
    make_config: MakeConfig, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO", "dyhead"):
        train(make_config())
    assert "Training on 6 images of rectangles, 2 classes: 4 steps of 2 images" in caplog.text
    assert "s per image" in caplog.text and "peak memory" in caplog.text
    assert "curves.png" in caplog.text and "predictions.png" in caplog.text


@pytest.mark.usefixtures("without_pictures")
def test_a_trainer_of_ones_own_adds_hooks_as_to_detectron2s(make_config: MakeConfig) -> None:
    seen: list[Any] = []

    class Recorder(HookBase):
        def after_train(self) -> None:
            seen.append(self.trainer._last_eval_results)

    class OwnTrainer(Trainer):
        def build_hooks(self) -> list[HookBase | None]:
            return [*super().build_hooks(), Recorder()]

    trainer = OwnTrainer(make_config(**{"TEST.REPORT": True}))
    assert isinstance(trainer, DefaultTrainer)
    parts = trainer._trainer, trainer.checkpointer, trainer.scores
    names = [type(hook).__name__ for hook in trainer.build_hooks() if hook is not None]
    assert parts == (trainer._trainer, trainer.checkpointer, trainer.scores)
    assert names == [
        "ProgressHook",
        "IterationTimer",
        "LRScheduler",
        "PeriodicCheckpointer",
        "StopHook",
        "EvalHook",
        "PeriodicWriter",
        "ScoresHook",
        "CurvesHook",
        "ReportHook",
        *(["InputPicturesHook"] if InputPicturesHook.is_useful() else []),
        "Recorder",
    ]
    assert isinstance(trainer.checkpointer, SafeCheckpointer)
    trainer.train()
    assert len(seen) == 1 and "AP" in seen[0]["bbox"]


def test_hooks_that_leave_the_safe_parts_out_are_refused(make_config: MakeConfig) -> None:
    class Bare(Trainer):
        def build_hooks(self) -> list[HookBase | None]:
            return []

    with pytest.raises(TypeError, match=r"Bare.build_hooks must call super\(\).build_hooks\(\)"):
        Bare(make_config())


def test_a_run_without_test_sets_comes_to_its_end(make_config: MakeConfig) -> None:
    cfg = make_config(**{"DATASETS.TEST": ()})
    assert train(cfg)._last_eval_results == {}
    assert Path(cfg.OUTPUT_DIR, "model_final.pth").is_file()


def test_genuine_detectron2_refuses_several_processes_on_the_cpu_at_once(
    make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dyhead.engine.trainer.HOST", "detectron2")
    monkeypatch.setattr(comm, "get_world_size", lambda: 2)
    monkeypatch.setattr(Trainer, "build_model", lambda cfg: pytest.fail("a model was built"))
    with pytest.raises(UserError, match="on GPUs only: .*DYHEAD_HOST=embedded"):
        Trainer(make_config())


@pytest.mark.usefixtures("without_pictures")
def test_expected_results_are_verified(make_config: MakeConfig) -> None:
    expected = {"TEST.EXPECTED_RESULTS": [["bbox", "AP", 0.0, 0.5]]}
    results = Trainer(make_config(**expected)).train()
    assert results is not None and results["bbox"]["AP"] == 0.0
    with pytest.raises(SystemExit):
        Trainer(make_config(**{"TEST.EXPECTED_RESULTS": [["bbox", "AP", 99.0, 0.5]]})).train()


@pytest.mark.parametrize("averages", [False, True])
def test_an_evaluation_that_fails_loses_no_step(
    make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch, averages: bool
) -> None:
    def fail(*_: Any) -> None:
        raise UserError("The image a.png can't be read")

    settings = {"SOLVER.MAX_ITER": 5, "SOLVER.CHECKPOINT_PERIOD": 1000, "TEST.EVAL_PERIOD": 3}
    cfg = make_config(**settings, **{"SOLVER.EMA.ENABLED": averages})
    monkeypatch.setattr(Trainer, "test", fail)
    stopped = Trainer(cfg)
    with pytest.raises(UserError, match="a.png"):
        stopped.train()
    again = Trainer(cfg)
    again.resume_or_load(resume=True)
    assert again.start_iter == 3
    for one, other in zip(stopped.model.parameters(), again.model.parameters(), strict=True):
        assert torch.equal(one, other)


def test_no_evaluation_follows_a_failure_in_the_last_step(
    make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The main process alone saves: others would wait for it elsewhere."""
    evaluated: list[bool] = []
    monkeypatch.setattr(Trainer, "test", lambda *_: evaluated.append(True))
    trainer = Trainer(make_config())
    save = trainer.checkpointer.save

    def fail_at_the_end(name: str, **more: Any) -> None:
        if name == "model_final":
            raise OSError(28, "No space left on device")
        save(name, **more)

    monkeypatch.setattr(trainer.checkpointer, "save", fail_at_the_end)
    with pytest.raises(OSError, match="No space left"):
        trainer.train()
    assert not evaluated
