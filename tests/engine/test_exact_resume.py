"""A run that stopped and went on equals one that never stopped, bit by bit."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from small_program import call, command_line
from stop_hook import StopAt
from torch import nn

from dyhead.d2 import HOST
from dyhead.d2.config import CfgNode
from dyhead.d2.engine import HookBase
from dyhead.d2.modeling import META_ARCH_REGISTRY
from dyhead.engine.trainer import Trainer

MakeConfig = Callable[..., CfgNode]

pytestmark = pytest.mark.usefixtures("without_pictures", "one_thread")


@pytest.fixture
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


class NoisyDetector(META_ARCH_REGISTRY.get("ToyDetector")):  # type: ignore[misc]
    """Draws random numbers in its steps, as dropout and the sampling of regions do."""

    def forward(self, batch: list[dict[str, Any]]) -> Any:
        if not self.training:
            torch.rand(3)  # an evaluation draws too
            return super().forward(batch)
        weights = {name: 1 + torch.rand(()) for name in ("loss_cls", "loss_box_reg")}
        return {name: loss * weights[name] for name, loss in super().forward(batch).items()}


if "NoisyDetector" not in META_ARCH_REGISTRY:
    META_ARCH_REGISTRY.register(NoisyDetector)


class Record(HookBase):
    """Notes the pictures, with flips and sizes, of every step, and its losses."""

    def __init__(self, model: nn.Module) -> None:
        self.steps: list[Any] = []
        model.register_forward_hook(self._note)

    def _note(self, model: nn.Module, inputs: Any, losses: Any) -> None:
        if model.training:
            images = [
                (
                    im["image_id"],
                    im["image"].float().mul(1.0).sum().item(),
                    im["image"][:, :, 0].float().sum().item(),
                )
                for im in inputs[0]
            ]
            self.steps.append((images, {name: loss.item() for name, loss in losses.items()}))


def train(cfg: CfgNode, resume: bool = False) -> tuple[Trainer, list[Any]]:
    torch.manual_seed(0)
    trainer = Trainer(cfg)
    record = Record(trainer.model)
    trainer.resume_or_load(resume=resume)
    trainer.train()
    return trainer, record.steps


SETTINGS: dict[str, Any] = {
    "MODEL.META_ARCHITECTURE": "NoisyDetector",
    "INPUT.MIN_SIZE_TRAIN": (24, 32, 40),
    "SOLVER.CHECKPOINT_PERIOD": 6,
    "SOLVER.BASE_LR": 0.1,
    "SOLVER.STEPS": (),
    "TEST.EVAL_PERIOD": 3,
}


@pytest.mark.parametrize(("is_mixed", "optimizer"), [(False, "ADAMW"), (True, "SGD")])
@pytest.mark.parametrize("workers", [(0, 0), (0, 2), (2, 0)], ids=str)
def test_six_steps_and_six_more_are_twelve(
    make_config: MakeConfig,
    tmp_path: Path,
    workers: tuple[int, int],
    is_mixed: bool,
    optimizer: str,
) -> None:
    settings = {**SETTINGS, "SOLVER.AMP.ENABLED": is_mixed, "SOLVER.OPTIMIZER": optimizer}
    whole, whole_steps = train(
        make_config(**settings, **{"SOLVER.MAX_ITER": 12}, OUTPUT_DIR=str(tmp_path / "whole"))
    )
    first, second = ({**settings, "DATALOADER.NUM_WORKERS": number} for number in workers)
    _, steps = train(make_config(**first, **{"SOLVER.MAX_ITER": 6}))
    resumed, more_steps = train(make_config(**second, **{"SOLVER.MAX_ITER": 12}), resume=True)
    assert steps + more_steps == whole_steps
    for name, value in whole.model.state_dict().items():
        assert torch.equal(resumed.model.state_dict()[name], value)
    assert repr(resumed._last_eval_results) == repr(whole._last_eval_results)  # NaN as well


MIXED = {
    "INPUT.AUG.MOSAIC.PROB": 0.5,
    "INPUT.AUG.COPY_PASTE.PROB": 0.5,
    "INPUT.AUG.MIXUP.PROB": 1.0,
    "INPUT.AUG.COLOR.PROB": 0.5,
    "INPUT.AUG.IOU_CROP.PROB": 0.5,
    "INPUT.AUG.OFF_FOR_LAST": 0.25,
    "DATALOADER.SAMPLER_TRAIN": "RepeatFactorTrainingSampler",
    "DATALOADER.REPEAT_THRESHOLD": 0.9,
    "SOLVER.MAX_ITER": 12,
}
UNMIXED = {f"INPUT.AUG.{name}.PROB": 0.0 for name in ("MOSAIC", "COPY_PASTE", "MIXUP")}


@pytest.mark.parametrize("workers", [(0, 0), (0, 2), (2, 0)], ids=str)
def test_mixed_pictures_are_the_same_after_a_resume_and_end_at_the_same_step(
    make_config: MakeConfig,
    tmp_path: Path,
    workers: tuple[int, int],
    caplog: pytest.LogCaptureFixture,
) -> None:
    settings = {**SETTINGS, **MIXED}
    caplog.set_level("INFO", logger="dyhead")
    _, whole_steps = train(make_config(**settings, OUTPUT_DIR=str(tmp_path / "whole")))
    first, second = (make_config(**settings, **{"DATALOADER.NUM_WORKERS": n}) for n in workers)
    torch.manual_seed(0)
    trainer = Trainer(first)
    record = Record(trainer.model)
    trainer.register_hooks([StopAt(6)])
    trainer.resume_or_load(resume=False)
    with pytest.raises(KeyboardInterrupt):
        trainer.train()
    _, more_steps = train(second, resume=True)
    assert record.steps + more_steps == whole_steps
    assert "MIXUP with probability 1; not in the last 25% of the steps" in caplog.text
    unmixed = {**settings, **UNMIXED, "OUTPUT_DIR": str(tmp_path / "plain")}
    _, plain_steps = train(make_config(**unmixed))
    pictures, plain = ([images for images, _ in steps] for steps in (whole_steps, plain_steps))
    assert pictures[9:] == plain[9:]  # a quarter of twelve
    assert all(mixed != alone for mixed, alone in zip(pictures[:9], plain[:9], strict=True))


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [
        [],
        ["DATALOADER.NUM_WORKERS", "2", "SOLVER.AMP.ENABLED", "True"],
        pytest.param(
            ["--num-gpus", "2"],
            marks=pytest.mark.skipif(
                HOST == "detectron2", reason="it needs GPUs for two processes"
            ),
        ),
    ],
    ids=["float32", "bfloat16, 2 workers", "2 processes"],
)
def test_a_whole_detector_resumes_exactly(tmp_path: Path, options: list[str]) -> None:
    line = [*command_line(tmp_path), *options, "INPUT.RANDOM_FLIP", "horizontal"]
    line += [
        "INPUT.MIN_SIZE_TRAIN",
        "(48, 64)",
        "SOLVER.CHECKPOINT_PERIOD",
        "100",
        "SOLVER.STEPS",
        "()",
    ]
    line += ["SOLVER.LR_SCHEDULER_NAME", "WarmupMultiStepLR"]  # a cosine's shape follows MAX_ITER
    place = line.index("OUTPUT_DIR") + 1
    weights = []
    for name, runs in (("whole", (12,)), ("parts", (6, 12))):
        line[place] = str(tmp_path / name)
        for steps in runs:
            done = call(["--resume", *line, "SOLVER.MAX_ITER", str(steps)])
            assert done.returncode == 0, done.stdout + done.stderr
        weights.append(torch.load(tmp_path / name / "model_final.pth", weights_only=True)["model"])
    assert all(torch.equal(weights[1][name], weight) for name, weight in weights[0].items())
