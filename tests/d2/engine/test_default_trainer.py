"""The trainer made from a config, on either host."""

import json
import os
import types

import pytest
import torch
from torch import nn

from dyhead.d2.config import get_cfg
from dyhead.d2.engine import DefaultTrainer, default_argument_parser, default_setup
from dyhead.d2.evaluation import DatasetEvaluator
from dyhead.d2.solver.build import maybe_add_gradient_clipping


class Scale(nn.Module):
    """Fits x -> 2 x."""

    def __init__(self) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.zeros(1))

    def forward(self, inputs):
        if not self.training:
            return [{"value": self.factor * item["x"]} for item in inputs]
        return {"loss": sum(((self.factor - 2) * item["x"]) ** 2 for item in inputs).sum()}


class MeanEvaluator(DatasetEvaluator):
    def reset(self):
        self.values = []

    def process(self, inputs, outputs):
        self.values += [output["value"].item() for output in outputs]

    def evaluate(self):
        return {"scale": {"AP": sum(self.values) / len(self.values), "AP-one": 1.0}}


class Trainer(DefaultTrainer):
    @classmethod
    def build_model(cls, cfg):
        return Scale()

    @classmethod
    def build_train_loader(cls, cfg):
        return iter(lambda: [{"x": torch.ones(1)}], None)

    @classmethod
    def build_test_loader(cls, cfg, dataset_name):
        return [[{"x": torch.ones(1)}]] * 3


class EvaluatingTrainer(Trainer):
    @classmethod
    def build_evaluator(cls, cfg, dataset_name):
        return MeanEvaluator()


def config(folder, **solver):
    cfg = get_cfg()
    cfg.OUTPUT_DIR = str(folder)
    cfg.MODEL.DEVICE = "cpu"
    cfg.DATASETS.TEST = ("some_dataset",)
    settings = {"MAX_ITER": 12, "STEPS": (), "WARMUP_ITERS": 0, "BASE_LR": 0.05}
    for key, value in {**settings, "CHECKPOINT_PERIOD": 5, **solver}.items():
        cfg.SOLVER[key] = value
    return cfg


def metrics(folder) -> list[dict]:
    with open(os.path.join(folder, "metrics.json")) as file:
        return [json.loads(line) for line in file]


def test_it_trains_evaluates_and_leaves_its_files(tmp_path):
    cfg = config(tmp_path)
    cfg.TEST.EVAL_PERIOD = 6
    trainer = EvaluatingTrainer(cfg)
    trainer.resume_or_load(resume=False)
    trainer.train()
    names = set(os.listdir(tmp_path))
    assert {"model_0000004.pth", "model_0000009.pth", "model_final.pth", "last_checkpoint"} <= names
    assert any(name.startswith("events.out.tfevents") for name in names)
    assert metrics(tmp_path)[-1]["scale/AP"] == pytest.approx(trainer.model.factor.item())
    assert trainer.model.factor.item() == pytest.approx(2, abs=1)


def test_its_parts_are_those_of_the_inner_trainer(tmp_path):
    trainer = Trainer(config(tmp_path))
    assert trainer.model is trainer._trainer.model
    replacement = Scale()
    trainer.model = replacement
    assert trainer._trainer.model is replacement
    assert trainer.optimizer is trainer._trainer.optimizer
    assert trainer.data_loader is trainer._trainer.data_loader


@pytest.mark.parametrize("clipping", [False, True])
def test_an_interrupted_training_ends_as_an_uninterrupted_one(tmp_path, clipping):
    def make(folder):
        cfg = config(folder, STEPS=(8,), WARMUP_ITERS=3)
        cfg.SOLVER.CLIP_GRADIENTS.ENABLED = clipping
        trainer = Trainer(cfg)
        trainer.resume_or_load(resume=True)
        return trainer

    whole = make(tmp_path / "whole")
    whole.train()
    interrupted = make(tmp_path / "parts")
    interrupted.max_iter = 7  # the schedule still spans the 12 of the config
    interrupted.train()
    os.remove(tmp_path / "parts" / "model_final.pth")  # of iteration 6: stopped before it
    (tmp_path / "parts" / "last_checkpoint").write_text("model_0000004.pth")
    resumed = make(tmp_path / "parts")
    assert resumed.start_iter == 5
    resumed.train()
    assert resumed.model.factor.item() == pytest.approx(whole.model.factor.item(), abs=1e-7)
    assert resumed.scheduler.last_epoch == whole.scheduler.last_epoch


def test_checkpoints_hold_only_what_a_safe_reader_takes(tmp_path):
    Trainer(config(tmp_path)).train()
    state = torch.load(tmp_path / "model_final.pth", weights_only=True)
    assert state["iteration"] == 11
    assert state["trainer"]["iteration"] == 11
    assert set(state["trainer"]) == {"iteration", "hooks", "_trainer"}
    assert "LRScheduler" in state["trainer"]["hooks"]


def test_training_starts_from_the_weights_given(tmp_path):
    torch.save({"model": {"factor": torch.tensor([9.0])}}, tmp_path / "weights.pth")
    cfg = config(tmp_path / "run")
    cfg.MODEL.WEIGHTS = str(tmp_path / "weights.pth")
    trainer = Trainer(cfg)
    trainer.resume_or_load(resume=True)  # there is no checkpoint to resume from
    assert trainer.start_iter == 0 and trainer.model.factor.item() == 9


def test_expected_results_are_verified(tmp_path):
    cfg = config(tmp_path)
    cfg.TEST.EXPECTED_RESULTS = [["scale", "AP", 2.0, 1.5]]
    assert EvaluatingTrainer(cfg).train()["scale"]["AP"] == pytest.approx(2, abs=1.5)
    cfg.TEST.EXPECTED_RESULTS = [["scale", "AP", 50.0, 0.5]]
    with pytest.raises(SystemExit):
        EvaluatingTrainer(cfg).train()


def test_several_data_sets_give_results_by_name(tmp_path):
    cfg = config(tmp_path)
    cfg.DATASETS.TEST = ("a", "b")
    results = Trainer.test(cfg, Scale(), [MeanEvaluator(), MeanEvaluator()])
    assert set(results) == {"a", "b"} and results["a"]["scale"]["AP"] == 0
    cfg.DATASETS.TEST = ("a",)
    assert Trainer.test(cfg, Scale(), MeanEvaluator())["scale"]["AP"] == 0
    assert Trainer.test(cfg, Scale()) == {}  # no evaluator is not an error


def test_a_config_scales_with_the_number_of_processes():
    cfg = get_cfg()
    solver = {"IMS_PER_BATCH": 16, "BASE_LR": 0.1, "REFERENCE_WORLD_SIZE": 8, "MAX_ITER": 5000}
    for key, value in {**solver, "STEPS": (4000,), "CHECKPOINT_PERIOD": 1000}.items():
        cfg.SOLVER[key] = value
    cfg.TEST.EVAL_PERIOD = 500
    cfg.freeze()
    scaled = DefaultTrainer.auto_scale_workers(cfg, 16)
    assert scaled.is_frozen() and cfg.SOLVER.IMS_PER_BATCH == 16
    assert scaled.SOLVER.IMS_PER_BATCH == 32
    assert pytest.approx(0.2) == scaled.SOLVER.BASE_LR
    assert (scaled.SOLVER.MAX_ITER, scaled.SOLVER.STEPS) == (2500, (2000,))
    assert (scaled.SOLVER.WARMUP_ITERS, scaled.SOLVER.CHECKPOINT_PERIOD) == (500, 500)
    assert (scaled.TEST.EVAL_PERIOD, scaled.SOLVER.REFERENCE_WORLD_SIZE) == (250, 16)
    assert DefaultTrainer.auto_scale_workers(cfg, 8) is cfg
    cfg.defrost()
    cfg.SOLVER.REFERENCE_WORLD_SIZE = 0
    assert DefaultTrainer.auto_scale_workers(cfg, 3) is cfg


def test_an_optimizer_of_ones_own_clips_as_well(tmp_path):
    class AdamTrainer(Trainer):
        @classmethod
        def build_optimizer(cls, cfg, model):
            clipping = maybe_add_gradient_clipping(cfg, torch.optim.AdamW)
            return clipping(model.parameters(), lr=cfg.SOLVER.BASE_LR)

    cfg = config(tmp_path)
    cfg.SOLVER.CLIP_GRADIENTS.ENABLED = True
    trainer = AdamTrainer(cfg)
    trainer.train()
    assert type(trainer.optimizer).__name__ == "AdamWWithGradientClip"


def test_the_parser_knows_detectron2s_arguments():
    parser = default_argument_parser()
    defaults = parser.parse_args([])
    assert (defaults.config_file, defaults.num_gpus, defaults.num_machines) == ("", 1, 1)
    assert (defaults.resume, defaults.eval_only, defaults.machine_rank) == (False, False, 0)
    assert defaults.dist_url.startswith("tcp://127.0.0.1:") and defaults.opts == []
    given = parser.parse_args(
        ["--config-file", "c.yaml", "--resume", "--eval-only", "--num-gpus", "2", "A.B", "1"]
    )
    assert given.resume and given.eval_only and given.opts == ["A.B", "1"]
    assert given.config_file == "c.yaml"


def test_setup_seeds_and_writes_the_config_and_the_log(tmp_path):
    cfg = config(tmp_path / "run")
    cfg.SEED = 5
    (tmp_path / "file.yaml").write_text("SOLVER:\n  BASE_LR: 0.05\n")
    args = types.SimpleNamespace(config_file=str(tmp_path / "file.yaml"), eval_only=False)
    default_setup(cfg, args)
    first = torch.rand(3)
    default_setup(cfg, args)
    assert torch.equal(torch.rand(3), first)
    assert (tmp_path / "run" / "config.yaml").read_text() == cfg.dump()
    merged = get_cfg()
    merged.merge_from_file(str(tmp_path / "run" / "config.yaml"))
    assert merged.SOLVER == cfg.SOLVER
    log = (tmp_path / "run" / "log.txt").read_text()
    assert "Environment info" in log and "BASE_LR" in log


def test_setup_takes_no_arguments_too(tmp_path):
    default_setup(config(tmp_path), {})
    assert (tmp_path / "config.yaml").is_file()
