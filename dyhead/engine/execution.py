"""Prepares a model's execution: operators, memory layout, compilation; values stay the same."""

import logging
import os

import torch
from torch import nn

from dyhead.d2.config import CfgNode
from dyhead.errors import UserError
from dyhead.evaluation.size_groups import compute_by_size
from dyhead.ops import choose_backend, set_default_backend
from dyhead.ops.backends import BACKEND_VARIABLE

logger = logging.getLogger(__name__)

_MODES_WITH_CUDA_GRAPHS = ("reduce-overhead", "max-autotune")
# The parts that map tensors to tensors. A head that works on detections has other sizes each time.
_TENSOR_PARTS = ("backbone", "head")


def prepare_execution(cfg: CfgNode, model: nn.Module) -> None:
    """Apply MODEL.DEFORM_CONV_BACKEND, MODEL.CHANNELS_LAST and MODEL.COMPILE to a built model.

    In evaluation it computes batches of several sizes in groups (see `evaluation.size_groups`).
    Names and values of its parameters stay as they are. On a CPU channels_last waits for the
    evaluation (`optimized_for_inference`): GroupNorm's gradient and the optimizer are slower in it.

    Raises:
        UserError: the model has no part to compile.
        ValueError: the back end that was asked for cannot serve MODEL.DEVICE.
    """
    set_default_backend(cfg.MODEL.DEFORM_CONV_BACKEND)
    if cfg.MODEL.DEFORM_CONV_BACKEND or os.environ.get(BACKEND_VARIABLE):
        choose_backend(torch.device(cfg.MODEL.DEVICE))  # refuses now what would fail in step 1
    if cfg.MODEL.CHANNELS_LAST and torch.device(cfg.MODEL.DEVICE).type != "cpu":
        # A convolution takes the layout of its weights: images need not be converted.
        model.to(memory_format=torch.channels_last)
    before_each_pass = None
    if cfg.MODEL.COMPILE.ENABLED:
        _compile(model, cfg.MODEL.COMPILE.MODE, cfg.MODEL.META_ARCHITECTURE)
        if cfg.MODEL.COMPILE.MODE in _MODES_WITH_CUDA_GRAPHS:
            before_each_pass = _begin_step
    compute_by_size(model, before_each_pass)


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


def _begin_step() -> None:
    """Tell CUDA graphs that the outputs of the last forward pass are not needed any more.

    Without it they would take the call of the head for the next step, and overwrite the features.
    """
    torch.compiler.cudagraph_mark_step_begin()
