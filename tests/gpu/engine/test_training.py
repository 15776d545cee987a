"""The trainer on the device: steps, checkpoints, resuming, memory, evaluation."""

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from closeness import assert_same_detections
from gpu_cases import DEVICE, IS_REAL, requested_bytes
from gpu_contexts import DEVICE_BACKEND, REFERENCE_BACKEND, backend, exact_products
from small_configs import FOLDER, shrink
from stop_hook import StopAt

import dyhead.modeling  # noqa: F401  registers the models
from dyhead.checkpoint import SafeCheckpointer
from dyhead.config import load_config
from dyhead.d2.config import CfgNode
from dyhead.d2.engine import HookBase
from dyhead.data import fill_num_classes, register_datasets
from dyhead.data.shape_scenes import ShapesSpec
from dyhead.data.shapes import make_shapes
from dyhead.engine.trainer import Trainer

SIDE = 128 if IS_REAL else 64  # of an image, in pixels
NUM_IMAGES = 4  # all of them in every batch
NUM_STEPS = 24 if IS_REAL else 12
STOP = NUM_STEPS // 2
NAMES = ("gpu_shapes_train", "gpu_shapes_val")
# Of losses, by AMP: sums of another order turn the sign of gradients near 0, by which AdamW goes.
RESUMED_RTOL = {False: 0.05, True: 0.15}
MAX_GROWTH = 64 * 1024  # bytes within STEADY steps
STEADY = 5


@dataclass
class Recorder(HookBase):
    """Notes the loss of every step, and the memory that is in use after it."""

    losses: list[float] = field(default_factory=list)
    memory: list[int] = field(default_factory=list)

    def after_step(self) -> None:
        self.losses.append(self.trainer.storage.latest()["total_loss"][0])
        self.memory.append(requested_bytes() if IS_REAL else 0)


@pytest.fixture(scope="module")
def data_sets(tmp_path_factory: pytest.TempPathFactory) -> list[list[str]]:
    """Generated shapes, as DATASETS.COCO_JSON wants them."""
    spec = ShapesSpec(
        height=SIDE,
        width=SIDE,
        num_train=NUM_IMAGES,
        num_val=NUM_IMAGES,
        min_size=SIDE / 4,
        max_size=SIDE / 1.5,
    )
    folder = make_shapes(tmp_path_factory.mktemp("data"), spec)
    return [
        [name, str(folder / f"annotations/instances_{split}.json"), str(folder / split)]
        for name, split in zip(NAMES, ("train", "val"), strict=True)
    ]


@pytest.fixture(scope="module", autouse=True)
def surroundings() -> Iterator[None]:
    """No TF32, no C++, and no pictures, whose drawing takes longer than the training."""
    with exact_products(), backend(DEVICE_BACKEND), pytest.MonkeyPatch.context() as patch:
        patch.setattr("dyhead.evaluation.reports.draw_mosaic", lambda *_: None)
        patch.setattr("dyhead.engine.hooks.plot_curves", lambda *_: None)
        yield


@dataclass(frozen=True)
class Run:
    """A training from beginning to end."""

    cfg: CfgNode
    trainer: Trainer
    recorder: Recorder


@pytest.fixture(scope="module", params=[False, True], ids=["float32", "amp"])
def run(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    data_sets: list[list[str]],
) -> Run:
    cfg = make_config(data_sets, tmp_path_factory.mktemp("whole"), amp=request.param)
    trainer, recorder = begin(cfg)
    trainer.train()
    return Run(cfg, trainer, recorder)


def make_config(data_sets: list[list[str]], output_dir: Path, amp: bool) -> CfgNode:
    """A small detector, made smaller, for steps that see the same images each."""
    cfg, explicit_keys = load_config(str(FOLDER / "Base-ATSS-DyHead-R18-small.yaml"))
    shrink(cfg)
    cfg.MODEL.DYHEAD.NUM_CONVS = 1
    cfg.MODEL.DEVICE, cfg.OUTPUT_DIR = str(DEVICE), str(output_dir)
    cfg.DATASETS.COCO_JSON = data_sets
    cfg.DATASETS.TRAIN, cfg.DATASETS.TEST = NAMES[:1], NAMES[1:]
    cfg.DATALOADER.NUM_WORKERS, cfg.SOLVER.IMS_PER_BATCH = 0, NUM_IMAGES
    cfg.INPUT.MIN_SIZE_TRAIN, cfg.INPUT.MIN_SIZE_TEST = (SIDE,), SIDE
    cfg.INPUT.RANDOM_FLIP = "none"
    cfg.SOLVER.MAX_ITER, cfg.SOLVER.WARMUP_ITERS = NUM_STEPS, 0
    cfg.SOLVER.CHECKPOINT_PERIOD, cfg.TEST.EVAL_PERIOD = STOP, 0
    cfg.SOLVER.AMP.ENABLED = amp
    cfg.TEST.PRECISION = "bfloat16" if amp else "float32"
    register_datasets(cfg)
    fill_num_classes(cfg, explicit_keys)
    cfg.freeze()
    return cfg


def begin(cfg: CfgNode, resume: bool = False, stop: int = -1) -> tuple[Trainer, Recorder]:
    torch.manual_seed(0)
    trainer, recorder = Trainer(cfg), Recorder()
    trainer.register_hooks([recorder, StopAt(stop)])
    trainer.resume_or_load(resume=resume)
    return trainer, recorder


def tensors_of(trainer: Trainer) -> dict[str, Any]:
    """Weights, and what the optimizer and the loss scale remember, by name."""
    state = trainer._trainer.state_dict()
    moments = {
        f"{key} of {number}": value
        for number, memory in state["optimizer"]["state"].items()
        for key, value in memory.items()
    }
    return {**trainer.model.state_dict(), **moments, **state.get("grad_scaler", {})}


def test_everything_is_on_the_device(run: Run) -> None:
    values = tensors_of(run.trainer)
    moments = [name for name in values if "exp_avg" in name]
    assert len(moments) > len(list(run.trainer.model.parameters()))
    placed = [*run.trainer.model.state_dict(), *moments]
    assert {values[name].device.type for name in placed} == {DEVICE.type}


def test_the_loss_goes_down(run: Run) -> None:
    losses = run.recorder.losses
    assert len(losses) == NUM_STEPS and all(math.isfinite(loss) for loss in losses)
    assert sum(losses[-3:]) / 3 < 0.9 * losses[0], losses


def test_the_evaluation_leaves_scores_and_detections(run: Run) -> None:
    folder = Path(run.cfg.OUTPUT_DIR, "inference")
    scores = json.loads((folder / "scores.json").read_text())
    assert 0 <= scores["AP"] <= 100
    detections = json.loads((folder / "coco_instances_results.json").read_text())
    assert {one["image_id"] for one in detections} == set(range(1, NUM_IMAGES + 1))


def test_a_checkpoint_gives_the_same_detections_on_the_cpu(run: Run) -> None:
    cfg = run.cfg.clone()
    cfg.defrost()
    cfg.MODEL.DEVICE, cfg.MODEL.WEIGHTS = "cpu", ""
    batch = next(iter(Trainer.build_test_loader(cfg, NAMES[1])))
    with torch.no_grad():
        found = run.trainer.model.eval()(batch)
        with backend(REFERENCE_BACKEND):
            model = Trainer.build_model(cfg).eval()
            SafeCheckpointer(model).load(str(Path(cfg.OUTPUT_DIR, "model_final.pth")))
            expected = model(batch)
    for ours, theirs in zip(found, expected, strict=True):
        assert_same_detections(ours["instances"].to("cpu"), theirs["instances"])


def test_a_resumed_run_goes_on_as_if_it_had_not_stopped(
    run: Run, data_sets: list[list[str]], tmp_path: Path
) -> None:
    amp = run.cfg.SOLVER.AMP.ENABLED
    cfg = make_config(data_sets, tmp_path, amp)
    stopped, first = begin(cfg, stop=STOP)
    with pytest.raises(KeyboardInterrupt):
        stopped.train()
    resumed, second = begin(cfg, resume=True)
    assert resumed.start_iter == STOP
    before, after = tensors_of(stopped), tensors_of(resumed)
    assert before.keys() == after.keys()
    for name, value in before.items():
        assert torch.equal(torch.as_tensor(after[name]), torch.as_tensor(value)), name
    resumed.train()
    assert first.losses + second.losses == pytest.approx(run.recorder.losses, rel=RESUMED_RTOL[amp])


@pytest.mark.skipif(not IS_REAL, reason="memory is counted on CUDA")
def test_memory_does_not_grow_from_step_to_step(run: Run) -> None:
    steady = run.recorder.memory[-STEADY:]
    assert max(steady) - steady[0] < MAX_GROWTH, run.recorder.memory
