"""Prepares a model's execution: operators, memory layout, compilation; values stay the same."""

import logging
import os
import sys
from functools import partial

import torch
from torch import nn

from dyhead.d2.config import CfgNode
from dyhead.d2.modeling.meta_arch import GeneralizedRCNN, RetinaNet
from dyhead.engine.precision import pool_by_exact_boxes, use_float32_precision
from dyhead.errors import UserError
from dyhead.modeling.meta_arch.dense_detector import DenseDetector
from dyhead.modeling.size_groups import compute_by_size
from dyhead.ops import choose_backend, set_default_backend
from dyhead.ops.backends import BACKEND_VARIABLE

logger = logging.getLogger(__name__)

_MODES_WITH_CUDA_GRAPHS = ("reduce-overhead", "max-autotune")
# The parts that map tensors to tensors. A head that works on detections has other sizes each time.
_TENSOR_PARTS = ("backbone", "head")


def prepare_execution(cfg: CfgNode, model: nn.Module) -> None:
    """Apply MODEL.DEFORM_CONV_BACKEND, MODEL.CHANNELS_LAST and MODEL.COMPILE to a built model.

    In evaluation, and without MODEL.PADDING_IN_STATISTICS in training too, it computes batches of
    several sizes in groups (see `modeling.size_groups`). Names and values of its parameters stay as
    they are. On a CPU channels_last waits for the evaluation (`optimized_for_inference`):
    GroupNorm's gradient and the optimizer are slower in it.

    Raises:
        UserError: the model has no part to compile, or cannot train in groups of one size.
        ValueError: the back end that was asked for cannot serve MODEL.DEVICE.
    """
    set_default_backend(cfg.MODEL.DEFORM_CONV_BACKEND)
    if cfg.MODEL.DEFORM_CONV_BACKEND or os.environ.get(BACKEND_VARIABLE):
        choose_backend(torch.device(cfg.MODEL.DEVICE))  # refuses now what would fail in step 1
    if cfg.MODEL.CHANNELS_LAST and torch.device(cfg.MODEL.DEVICE).type != "cpu":
        # A convolution takes the layout of its weights: images need not be converted.
        model.to(memory_format=torch.channels_last)
    if cfg.MODEL.COMPILE.ENABLED:
        _compile(model, cfg.MODEL.COMPILE.MODE, cfg.MODEL.META_ARCHITECTURE)
    has_graphs = cfg.MODEL.COMPILE.ENABLED and cfg.MODEL.COMPILE.MODE in _MODES_WITH_CUDA_GRAPHS
    chosen = cfg.MODEL.DEFORM_CONV_BACKEND, cfg.FLOAT32_PRECISION
    pool_by_exact_boxes(model)
    if isinstance(model, RetinaNet) and model.max_detections_per_image < 0:
        model.max_detections_per_image = sys.maxsize  # -1 would leave out the last one
    before_each = partial(_begin_pass, *chosen, has_graphs)
    compute_by_size(model, before_each, in_training=_trains_by_size(cfg, model))


def _trains_by_size(cfg: CfgNode, model: nn.Module) -> bool:
    """Tell if training batches are to be divided, which dense detectors of the project do alone."""
    if cfg.MODEL.PADDING_IN_STATISTICS:
        return False
    name, key = cfg.MODEL.META_ARCHITECTURE, "MODEL.PADDING_IN_STATISTICS"
    if not isinstance(model, DenseDetector | GeneralizedRCNN):
        other = "DyHeadRetinaNet" if isinstance(model, RetinaNet) else "ATSS"
        raise UserError(
            f"{key} False: {name} cannot train without padding; set it to True, or use a detector"
            f" that can, such as MODEL.META_ARCHITECTURE {other}."
        )
    if any("SyncBatchNorm" in type(module).__name__ for module in model.modules()):
        raise UserError(
            f"{key} False: processes have different numbers of sizes, so synchronised batch norms"
            " would wait for each other for ever; use GN or FrozenBN."
        )
    return not isinstance(model, DenseDetector)


def _compile(model: nn.Module, mode: str, name: str) -> None:
    parts = {part: getattr(model, part, None) for part in _TENSOR_PARTS}
    modules = {part: module for part, module in parts.items() if isinstance(module, nn.Module)}
    if not modules:
        raise UserError(
            f"MODEL.COMPILE.ENABLED compiles a backbone and a head, and {name} has neither: set it"
            " to False."
        )
    for module in modules.values():
        module.compile(mode=mode)  # in place: names of parameters stay
    logger.info("Compiling %s on first use (mode %s)", " and ".join(modules), mode)


def _begin_pass(backend: str, precision: str, has_graphs: bool) -> None:
    """Choose the model's settings of the process, and tell CUDA graphs that a pass begins.

    Else they would take the call of the head for the next step, and overwrite the features: the
    outputs of the last pass are not needed any more.
    """
    set_default_backend(backend)
    use_float32_precision(precision)
    if has_graphs:
        torch.compiler.cudagraph_mark_step_begin()
