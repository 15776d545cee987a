"""Time a whole detector against itself with the official formulation on torchvision's operator.

Weights and images are random. The score threshold of a dense detector is set so that a thousand
candidates pass, as with a trained one. A training step is forward, backward and optimizer.

    python benchmarks/bm_model.py --threads 2
    python benchmarks/bm_model.py --config configs/own_dataset.yaml --size 480 640 --tasks inference
"""

import argparse
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from baseline import use_baseline
from block_cases import OFFSET_STD
from measure import (
    Call,
    Timing,
    peaks_in_new_process,
    saved_bytes,
    state_of,
    time_interleaved,
)
from mmdet_formulation import mmcv_operator
from results import Row, add_common_arguments, keep, megabytes, report, timing_columns
from torch import Tensor, nn
from variants import AUTOCAST_BASELINE, BASELINE, Variant, model_variants

import dyhead.modeling  # noqa: F401  registers the models
from dyhead.config import load_config
from dyhead.d2.config import CfgNode
from dyhead.d2.modeling import build_model
from dyhead.d2.structures import Boxes, Instances
from dyhead.engine import build_optimizer
from dyhead.engine.execution import prepare_execution
from dyhead.engine.precision import keep_predictions_in_float32
from dyhead.evaluation.inference_optimization import optimized_for_inference
from dyhead.modeling.backbone.dyhead import DyHead
from dyhead.modeling.meta_arch.dense_detector import DenseDetector

CONFIGS = Path(__file__).parents[1] / "configs"
ATSS_R50 = CONFIGS / "dyhead_r50_atss_fpn_1x.yaml"
SMALL_R18 = CONFIGS / "Base-ATSS-DyHead-R18-small.yaml"
# The baseline has them, and a config of small recipes has not.
OFFICIAL_OFFSETS = (
    *("MODEL.DYHEAD.COARSER_OFFSETS", "flat_read"),
    *("MODEL.DYHEAD.OFFSET_INIT", "default"),
)
TASKS = ("inference", "training")
LOSS_SCALE = 2.0**10  # in float16
BOXES_PER_IMAGE = 8
CANDIDATES = 1000


@dataclass(frozen=True)
class Workload:
    """A detector, its task (training or inference) and the size of its batch."""

    config: Path
    task: str
    size: tuple[int, int] | None = None  # height and width; None as the config trains
    batch: int | None = None  # images; None as the config trains


def default_workloads(device: torch.device) -> list[Workload]:
    """List the workloads of the goals."""
    workloads = [
        Workload(ATSS_R50, "inference", (800, 1344), 1),
        Workload(SMALL_R18, "training", (128, 128), 8),
    ]
    if device.type == "cuda":  # two images per GPU, as eight of them train
        workloads.append(Workload(ATSS_R50, "training", (800, 1344), 2))
    return workloads


def load(workload: Workload, device: torch.device, overrides: list[str]) -> CfgNode:
    """Load the config, without weights and with a learning rate that hardly changes any."""
    options = ["MODEL.DEVICE", str(device), "MODEL.WEIGHTS", "", "SOLVER.BASE_LR", "1e-6"]
    return load_config(str(workload.config), [*options, *OFFICIAL_OFFSETS, *overrides])[0]


def make_batch(cfg: CfgNode, workload: Workload) -> list[dict[str, Any]]:
    """Draw random images with random boxes."""
    height, width = workload.size or (cfg.INPUT.MIN_SIZE_TRAIN[-1],) * 2
    count = workload.batch or (cfg.SOLVER.IMS_PER_BATCH if workload.task == "training" else 1)
    generator = torch.Generator().manual_seed(0)
    return [make_image(height, width, generator) for _ in range(count)]


def make_image(height: int, width: int, generator: torch.Generator) -> dict[str, Any]:
    """Make one image as a data loader gives it; boxes are XYXY in pixels."""
    corners = 0.8 * torch.rand(BOXES_PER_IMAGE, 2, generator=generator)
    sides = 0.05 + 0.15 * torch.rand(BOXES_PER_IMAGE, 2, generator=generator)
    boxes = torch.cat((corners, corners + sides), dim=1) * torch.tensor([width, height] * 2)
    instances = Instances((height, width))
    instances.gt_boxes = Boxes(boxes)
    instances.gt_classes = torch.zeros(BOXES_PER_IMAGE, dtype=torch.long)
    image = torch.randint(0, 256, (3, height, width), generator=generator, dtype=torch.uint8)
    return {"image": image, "height": height, "width": width, "instances": instances}


class ModelCase:
    """A detector in one variant, on one batch."""

    def __init__(
        self,
        variant: Variant,
        model: nn.Module,
        cfg: CfgNode,
        batch: list[dict[str, Any]],
        form: ExitStack | None,
    ) -> None:
        """Build the optimizer; nothing runs yet. `form` stays open as long as the case lives."""
        self.variant, self.model, self.batch, self.form = variant, model, batch, form
        self.device = torch.device(cfg.MODEL.DEVICE)
        self.optimizer = build_optimizer(cfg, model)
        # As the trainer does. A step whose gradients overflow would leave no number in the weights,
        # which other variants share.
        self.scaler = torch.amp.GradScaler(
            self.device.type, LOSS_SCALE, enabled=variant.precision == "float16"
        )

    def inference(self) -> Any:
        """Run inference."""
        with torch.no_grad(), self.variant.active(self.device):
            return self.model.eval()(self.batch)

    def loss(self) -> Tensor:
        """Run the forward pass of a training step."""
        with self.variant.active(self.device):
            return torch.stack([*self.model.train()(self.batch).values()]).sum()

    def training(self) -> None:
        """Run a training step."""
        loss = self.loss()
        self.optimizer.zero_grad()
        with self.variant.active(self.device):
            self.scaler.scale(loss).backward()
        self.scaler.step(self.optimizer)
        self.scaler.update()


def make_cases(
    cfg: CfgNode,
    variants: list[Variant],
    batch: list[dict[str, Any]],
    inference: ExitStack | None = None,
) -> dict[Variant, ModelCase]:
    """Make a case of every variant with the same initial weights.

    Ours is prepared as `train_net.py` does it; with `inference` also as its evaluation does, until
    that is closed.
    """
    torch.manual_seed(0)
    ours = build_model(cfg)
    calibrate_offsets(ours, batch)
    keep_predictions_in_float32(ours)
    if isinstance(ours, DenseDetector):
        set_threshold(ours, batch)
    models = {"fused": ours, "baseline": use_baseline(ours)}
    if (operator := mmcv_operator()) is not None:
        models["mmdet"] = use_baseline(ours, operator)
    prepare_execution(cfg, ours)
    if inference is not None:
        inference.enter_context(optimized_for_inference(cfg, ours))
    return {v: ModelCase(v, models[v.block], cfg, batch, inference) for v in variants}


@torch.no_grad()
def calibrate_offsets(model: Any, batch: list[dict[str, Any]]) -> None:
    """Let the offsets of every block have a standard deviation of OFFSET_STD on the finest level.

    Those of random weights grow from block to block until they point far outside the image.
    """
    if not isinstance(model.backbone, DyHead):
        return
    features = model.eval().backbone.fpn(model.preprocess_image(batch).tensor)
    blocks: Any = model.backbone.blocks
    for block in blocks:
        convolution = block.spatial_attention.offset_and_mask
        offsets = convolution(next(iter(features.values())))[:, :18]
        for parameter in convolution.parameters():
            parameter[:18] *= OFFSET_STD / offsets.std()
        features = block(features)


def set_threshold(model: DenseDetector, batch: list[dict[str, Any]]) -> None:
    """Let CANDIDATES pairs of anchor and class pass."""
    with torch.no_grad():
        pyramid = model.eval().backbone(model.preprocess_image(batch).tensor)
        features = [pyramid[name] for name in model.head_in_features]
        predictions = model.arrange(model.head(features))
    scores = torch.cat([logits.flatten() for logits in predictions.class_logits]).sigmoid()
    model.test_score_thresh = scores.topk(min(CANDIDATES, len(scores))).values[-1].item()


def prepare(
    args: argparse.Namespace, workload: Workload, variants: list[Variant], stack: ExitStack
) -> tuple[dict[Variant, ModelCase], list[dict[str, Any]]]:
    """Prepare variants and batch; for inference in the form of evaluation until `stack` closes."""
    cfg = load(workload, args.device, args.opts)
    batch = make_batch(cfg, workload)
    inference = stack if workload.task == "inference" else None
    return make_cases(cfg, variants, batch, inference), batch


def make_calls(
    args: argparse.Namespace, workload: Workload, variants: list[Variant]
) -> dict[str, Call]:
    """Return the calls to be timed, by variant."""
    cases, _ = prepare(args, workload, variants, ExitStack())
    return {variant.name: getattr(case, workload.task) for variant, case in cases.items()}


def measure(workload: Workload, args: argparse.Namespace) -> list[Row]:
    """Measure one row per variant: all timed in turn, then each one's memory."""
    variants = model_variants(args.device)
    rows = measure_time(workload, args, variants)
    peaks = peaks_in_new_process(make_calls, args, workload, variants)
    for row in rows:
        row["peak_megabytes"] = megabytes(peaks[row["variant"]])
    return rows


def measure_time(
    workload: Workload, args: argparse.Namespace, variants: list[Variant]
) -> list[Row]:
    """Fill all columns but the peak of memory."""
    with ExitStack() as stack:
        cases, batch = prepare(args, workload, variants, stack)
        calls = {variant.name: getattr(case, workload.task) for variant, case in cases.items()}
        timings = time_interleaved(calls, args.rounds, args.device)
        return [
            describe(
                workload,
                batch,
                case,
                timings[variant.name],
                timings[BASELINE.name],
                timings.get(AUTOCAST_BASELINE.name),
            )
            for variant, case in cases.items()
        ]


def describe(
    workload: Workload,
    batch: list[dict[str, Any]],
    case: ModelCase,
    timing: Timing,
    baseline: Timing,
    autocast_baseline: Timing | None = None,
) -> Row:
    """Fill the columns of one variant."""
    height, width = batch[0]["height"], batch[0]["width"]
    row = {
        "config": workload.config.name,
        "task": f"{workload.task}, {len(batch)} x {height} x {width}",
        "pass": workload.task,
        "variant": case.variant.name,
        "block": case.variant.block,
        "backend": case.variant.backend,
        "precision": case.variant.precision,
        **timing_columns(timing, baseline, autocast_baseline),
        "images_per_second": len(batch) / timing.median,
    }
    if workload.task == "training":
        row["saved_megabytes"] = megabytes(saved_bytes(case.loss, state_of(case.model)))
    return row


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_common_arguments(parser)
    parser.add_argument("--config", type=Path, help="any YAML, instead of those of the goals")
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=TASKS, help="with --config")
    parser.add_argument("--size", type=int, nargs=2, metavar=("H", "W"), help="with --config")
    parser.add_argument("--batch", type=int, help="images, with --config")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("opts", nargs="*", default=[], metavar="KEY VALUE", help="config overrides")
    return parser.parse_intermixed_args(arguments)


def main(arguments: list[str] | None = None) -> None:
    """Measure and print the table."""
    args = parse(arguments)
    torch.set_num_threads(args.threads)
    workloads = default_workloads(args.device)
    if args.config is not None:
        size = tuple(args.size) if args.size else None
        workloads = [Workload(args.config, task, size, args.batch) for task in args.tasks]
    settings = {"rounds": args.rounds, "overrides": " ".join(args.opts)}
    rows: list[Row] = []
    for workload in workloads:
        rows += measure(workload, args)
        keep("model", settings, rows, args)
    report("model", settings, rows, args)


if __name__ == "__main__":
    main()
