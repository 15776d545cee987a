"""Detectors of configs/, made small: on the device they do what they do on the CPU.

The reference is plain PyTorch on the CPU in float32, with the same weights and images. In Triton's
interpreter a few detectors prove the tests. Kernels take long there, so all but the smallest get
another back end.
"""

import copy
import importlib
import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from closeness import (
    assert_same_detections,
    assert_same_gradients,
    assert_same_losses,
    norm,
    norm_by_module,
)
from gpu_cases import DEVICE, IS_REAL
from gpu_contexts import DEVICE_BACKEND, REFERENCE_BACKEND, backend, exact_products
from small_configs import CONFIGS, FOLDER, NEED_GENUINE_DETECTRON2, damp, groups_of, shrink
from torch import Tensor, nn

import dyhead.modeling  # noqa: F401  registers the models
from dyhead.config import load_config
from dyhead.d2.config import CfgNode
from dyhead.d2.engine import SimpleTrainer
from dyhead.d2.structures import Boxes, Instances
from dyhead.d2.utils.events import EventStorage
from dyhead.engine.guard import FiniteGuard
from dyhead.engine.optimizer import build_optimizer
from dyhead.engine.precision import build_step_trainer
from dyhead.engine.trainer import Trainer
from dyhead.evaluation.inference_optimization import optimized_for_inference
from dyhead.modeling.tta import build_multi_scale_testing
from dyhead.ops.backends import choose_backend

TIMM = "timm"  # no config has a backbone of timm
BASE_OF_TIMM = "Base-ATSS-DyHead-R18-small.yaml"
TIMM_OPTIONS = [
    *("MODEL.BACKBONE.NAME", "build_timm_fpn_dyhead_backbone"),
    *("MODEL.TIMM.NAME", "test_resnet"),
    *("MODEL.TIMM.NORM", "FrozenBN"),  # which no training step changes
    *("MODEL.FPN.IN_FEATURES", "[]"),
]
TWO_LEVELS = [
    *("MODEL.TIMM.OUT_FEATURES", "['stride16', 'stride32']"),
    *("MODEL.TIMM.TOP_LEVELS", ""),
    *("MODEL.ATSS.IN_FEATURES", "['p4', 'p5']"),
    *("MODEL.ANCHOR_GENERATOR.SIZES", "[[32], [64]]"),
    *("MODEL.DYHEAD.NUM_CONVS", "1"),
]
IN_THE_INTERPRETER = [
    TIMM,
    "dyhead_r50_fcos_fpn_1x.yaml",
    "dyhead_r50_rcnn_fpn_1x.yaml",
    "dyhead_r50_rcnn_fpn_1x_figure2c.yaml",
    "dyhead_r50_reppoints_fpn_1x.yaml",
    "dyhead_r50_retina_fpn_1x.yaml",
    "dyhead_r50_retina_fpn_1x_without_towers.yaml",
    "dyhead_swint_atss_fpn_2x_ms.yaml",
    "dyhead_x101dcn_atss_fpn_2x_ms.yaml",
]
TESTED_AT_SEVERAL_SCALES = "dyhead_r50_fcos_fpn_1x.yaml"
# Samples are drawn from generators that differ between devices: take so many that all are taken.
ALL_ANCHORS, ALL_REGIONS = 10_000, 512
SIZES = [(128, 120), (100, 112)] if IS_REAL else [(64, 60), (52, 56)]
OBJECTS = (5, 3)  # in each image
ONLY_ON_CUDA = pytest.mark.skipif(not IS_REAL, reason="a CPU trains in bfloat16 only")
SHORT_TYPES = [
    pytest.param(torch.float16, marks=ONLY_ON_CUDA, id="float16"),
    pytest.param(torch.bfloat16, id="bfloat16"),
]
MAX_SKIPPED = 16  # steps until the scale of the loss suits float16
# Of losses in 16 bits: of each, and of all together, since other regions may count as objects.
AMP_RTOL, AMP_TOTAL_RTOL = 0.1, 0.02


def small_config(name: str) -> CfgNode:
    """A config's detector made small, without anything that is drawn at random in a step."""
    file, options = name, []
    if name == TIMM:
        file, options = BASE_OF_TIMM, TIMM_OPTIONS if IS_REAL else TIMM_OPTIONS + TWO_LEVELS
    cfg, _ = load_config(str(FOLDER / file), options)
    shrink(cfg)
    for group in groups_of(cfg.MODEL):
        if "PREDICTOR_INIT_STD" in group:
            group.PREDICTOR_INIT_STD = 0.1  # scores that rounding does not rank anew
    cfg.MODEL.RPN.BATCH_SIZE_PER_IMAGE = ALL_ANCHORS
    cfg.MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE = ALL_REGIONS
    cfg.MODEL.SWINT.DROP_PATH_RATE = 0.0
    cfg.SOLVER.OPTIMIZER, cfg.SOLVER.BASE_LR = "ADAMW", 1e-3
    cfg.SOLVER.WEIGHT_DECAY = cfg.SOLVER.WEIGHT_DECAY_NORM = 0.0
    cfg.MODEL.WEIGHTS = ""
    return cfg


def distinct_configs() -> list[str]:
    """One name of each detector: several configs shrink to the same one."""
    detectors: dict[str, str] = {}
    for name in CONFIGS:
        if name not in NEED_GENUINE_DETECTRON2:  # whose parts are Detectron2's own
            detectors.setdefault(small_config(name).MODEL.dump(), name)
    return list(detectors.values())


NAMES = [*distinct_configs(), TIMM] if IS_REAL else IN_THE_INTERPRETER


@dataclass(frozen=True)
class Pair:
    """A detector on the CPU and the same on the device, with what the former computed."""

    cfg: CfgNode
    reference: nn.Module
    tested: nn.Module
    device_backend: str
    losses: dict[str, Tensor]
    gradients: dict[str, Tensor]

    def on_device(self) -> Any:
        """Context of what is computed on the device."""
        return backend(self.device_backend)


@pytest.fixture(scope="module", params=NAMES)
def pair(request: pytest.FixtureRequest) -> Pair:
    return make_pair(request.param)


def make_pair(name: str) -> Pair:
    cfg = small_config(name)
    device_backend = "triton" if name == TIMM else DEVICE_BACKEND
    with backend(REFERENCE_BACKEND):
        reference = build(cfg, "cpu")
        losses, gradients = losses_and_gradients(reference)
    with backend(device_backend):
        tested = build(cfg, str(DEVICE))
    tested.load_state_dict(reference.state_dict())
    return Pair(cfg, reference, tested, device_backend, losses, gradients)


@pytest.fixture(autouse=True, scope="module")
def float32_products() -> Iterator[None]:
    with exact_products():
        yield


def build(cfg: CfgNode, device: str) -> nn.Module:
    cfg = cfg.clone()
    cfg.MODEL.DEVICE = device
    torch.manual_seed(0)
    model = Trainer.build_model(cfg)
    damp(model)
    return model


def make_batch() -> list[dict[str, Any]]:
    """Two images of different sizes with objects; made on the CPU, as a loader does."""
    batch = []
    for seed, ((height, width), count) in enumerate(zip(SIZES, OBJECTS, strict=True)):
        generator = torch.Generator().manual_seed(seed)
        corners = torch.rand(count, 2, generator=generator) * height / 2
        sides = torch.rand(count, 2, generator=generator) * height / 3 + 8
        instances = Instances((height, width))
        instances.gt_boxes = Boxes(torch.cat([corners, corners + sides], dim=1))
        instances.gt_classes = torch.arange(count) % 3
        pixels = torch.randint(0, 256, (3, height, width), generator=generator, dtype=torch.uint8)
        batch.append({"image": pixels, "instances": instances, "height": height, "width": width})
    return batch


def losses_and_gradients(model: nn.Module) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Losses and gradients of a step, brought to the CPU."""
    model.zero_grad()
    with EventStorage():
        losses = model.train()(make_batch())
    sum(losses.values()).backward()
    parameters = {name: p for name, p in model.named_parameters() if p.requires_grad}
    assert not [name for name, parameter in parameters.items() if parameter.grad is None]
    gradients = {name: p.grad.cpu() for name, p in parameters.items() if p.grad is not None}
    return {name: loss.detach().cpu() for name, loss in losses.items()}, gradients


def detect(model: nn.Module) -> list[Instances]:
    """The detections of a model, brought to the CPU."""
    with torch.no_grad():
        outputs = model.eval()(make_batch())
    return [output["instances"].to("cpu") for output in outputs]


def test_triton_serves_the_device() -> None:
    triton_branch_mix = importlib.import_module("dyhead.ops.triton.branch_mix")
    with backend("triton"):
        assert choose_backend(DEVICE) == "triton"
    assert triton_branch_mix.serves(DEVICE)


def test_the_detector_is_on_the_device(pair: Pair) -> None:
    tensors = [*pair.tested.parameters(), *pair.tested.buffers()]
    assert {tensor.device.type for tensor in tensors} == {DEVICE.type}


def test_losses_and_gradients_are_those_of_the_cpu(pair: Pair) -> None:
    with pair.on_device():
        losses, gradients = losses_and_gradients(pair.tested)
    assert all(loss.isfinite() for loss in pair.losses.values())
    assert_same_losses(losses, pair.losses)
    assert_same_gradients(gradients, pair.gradients)


def test_detections_are_those_of_the_cpu(pair: Pair) -> None:
    with backend(REFERENCE_BACKEND):
        expected = detect(pair.reference)
    with pair.on_device(), optimized_for_inference(pair.cfg, pair.tested):
        found = detect(pair.tested)
    for ours, theirs in zip(found, expected, strict=True):
        assert_same_detections(ours, theirs)


@pytest.mark.parametrize("dtype", SHORT_TYPES)
def test_a_step_in_mixed_precision_trains_every_parameter(pair: Pair, dtype: torch.dtype) -> None:
    model = copy.deepcopy(pair.tested)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    batches = itertools.repeat(make_batch())
    cfg = pair.cfg.clone()
    cfg.defrost()
    cfg.MODEL.DEVICE, cfg.SOLVER.AMP.ENABLED = str(DEVICE), True
    cfg.SOLVER.AMP.DTYPE = str(dtype).removeprefix("torch.")
    trainer = build_step_trainer(cfg, model, batches, build_optimizer(cfg, model))
    trainer.register_hooks([FiniteGuard(model)])
    with pair.on_device():
        losses = step_until_the_scale_suits(trainer)
    assert losses.keys() == pair.losses.keys()
    slack = AMP_TOTAL_RTOL * sum(loss.item() for loss in pair.losses.values())
    for name, loss in pair.losses.items():
        assert losses[name] == pytest.approx(loss.item(), rel=AMP_RTOL, abs=slack), name
    after = dict(model.named_parameters())
    assert all(parameter.isfinite().all() for parameter in after.values())
    unchanged = {name for name, parameter in after.items() if parameter.equal(before[name])}
    assert not unchanged & learning(pair.gradients)
    assert (scale_of(trainer) is not None) == (dtype == torch.float16)


def scale_of(trainer: SimpleTrainer) -> float | None:
    """Return the scale of the loss, None where it is not scaled."""
    return trainer.state_dict().get("grad_scaler", {}).get("scale")


def step_until_the_scale_suits(trainer: SimpleTrainer) -> dict[str, float]:
    """Train until a step is not skipped, and return the losses of that step."""
    for step in range(MAX_SKIPPED):
        scale = scale_of(trainer)
        trainer.train(step, step + 1)
        if scale_of(trainer) == scale:
            latest = trainer.storage.latest()
            return {name: value for name, (value, _) in latest.items() if name.startswith("loss")}
    raise AssertionError(f"the scale fell to {scale}, and steps are skipped still")


def learning(gradients: dict[str, Tensor]) -> set[str]:
    """Parameters whose gradient is more than rounding, and not 0 as on levels without objects."""
    modules = norm_by_module(gradients)
    floors = {name: 1e-4 * modules[name.rpartition(".")[0]] for name in gradients}
    names = {name for name, gradient in gradients.items() if norm(gradient) > floors[name]}
    assert len(names) > 0.8 * len(gradients), set(gradients) - names
    return names


@pytest.mark.parametrize("merge", ["nms", "wbf"])
def test_several_scales_are_merged_as_on_the_cpu(merge: str) -> None:
    pair = make_pair(TESTED_AT_SEVERAL_SCALES)
    cfg = pair.cfg.clone()
    cfg.TEST.AUG.ENABLED, cfg.TEST.AUG.MERGE = True, merge
    cfg.TEST.AUG.MIN_SIZES, cfg.TEST.AUG.MAX_SIZE, cfg.TEST.AUG.VALID_SIZES = (48, 64), 128, []
    with backend(REFERENCE_BACKEND):
        expected = detect(build_multi_scale_testing(cfg, pair.reference.eval()))
    with pair.on_device():
        found = detect(build_multi_scale_testing(cfg, pair.tested.eval()))
    for ours, theirs in zip(found, expected, strict=True):
        assert_same_detections(ours, theirs)
