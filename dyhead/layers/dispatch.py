"""Decides how a block's forward pass is executed; all forms give the same values."""

import enum
import functools
import logging
from collections.abc import Sequence

import torch
from torch import nn

from dyhead.layers.scale_attention import ScaleAttention
from dyhead.layers.spatial_attention import DeformableBranch, OffsetConv, SpatialAttention
from dyhead.layers.task_attention import DyReLU

logger = logging.getLogger(__name__)

# Spatial, scale and task attention, and the modules inside them, whose mathematics
# `fused_attention` knows. Types are compared exactly: a subclass may compute something else.
_FUSED_ATTENTIONS = (SpatialAttention,), (ScaleAttention, type(None)), (DyReLU, nn.ReLU)
_FUSED_PARTS = (DeformableBranch, OffsetConv, nn.GroupNorm, nn.Conv2d, nn.Linear)


class Execution(enum.Enum):
    """A form of the forward pass."""

    PLAIN = "one module after the other"
    COMPILED = "fused, in differentiable operators of PyTorch, for a compiler to fuse further"
    AUTOGRAD = "fused, in two passes over memory, with a backward pass of its own"
    INFERENCE = "fused, in two passes over memory, outputs overwrite the convolutions' results"


def choose_execution(fused: bool, attentions: Sequence[nn.Module | None]) -> Execution:
    """Choose the form for a forward pass that begins now.

    Under torch.jit.trace the plain form runs, whose operators a trace can hold. An attention
    that the fused forms do not know runs plainly, and so does one with hooks, which fire then; the
    log has one line about it.

    Args:
        fused: whether a fused form is wanted.
        attentions: spatial, scale (or None) and task attention.
    """
    if not fused or torch.jit.is_tracing():
        return Execution.PLAIN
    if obstacle := _find_obstacle(attentions):
        if not torch.compiler.is_compiling():  # which cannot record a log line
            _log_once(obstacle)
        return Execution.PLAIN
    if torch.compiler.is_compiling():
        return Execution.COMPILED
    return Execution.AUTOGRAD if torch.is_grad_enabled() else Execution.INFERENCE


def _find_obstacle(attentions: Sequence[nn.Module | None]) -> str:
    """Say why the fused forms cannot serve these attentions; nothing if they can."""
    for attention, known in zip(attentions, _FUSED_ATTENTIONS, strict=True):
        if type(attention) not in known:
            return f"the fused form does not know {type(attention).__name__}"
        for module in attention.modules() if attention is not None else ():
            if module is not attention and type(module) not in _FUSED_PARTS:
                return f"the fused form does not know {type(module).__name__}"
            if _has_hooks(module):
                return f"{type(module).__name__} has hooks"
        if isinstance(attention, SpatialAttention) and not _has_equal_norms(attention):
            return "the norms of the branches differ"
    return ""


def _has_hooks(module: nn.Module) -> bool:
    return bool(
        module._forward_hooks
        or module._forward_pre_hooks
        or module._backward_hooks
        or module._backward_pre_hooks
    )


def _has_equal_norms(spatial: SpatialAttention) -> bool:
    finer, same, coarser = (
        (branch.norm.num_groups, branch.norm.eps, branch.norm.affine)
        for branch in (spatial.finer, spatial.same, spatial.coarser)
    )
    return finer == same == coarser and spatial.same.norm.affine


@functools.cache
def _log_once(obstacle: str) -> None:
    logger.warning("DyHead blocks run one module after the other, which is slower: %s.", obstacle)
