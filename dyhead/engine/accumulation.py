"""Gradient accumulation: the images of a step in parts, with the memory of one part.

A loss that is divided by the positives of its batch is not the mean of the losses of parts. So only
the convolutional parts of a detector, which treat each image by itself, compute a part after the
other; assignment, sampling and losses see the whole batch. What the parts keep for the backward
pass is dropped and computed again there, part by part (Chen et al., arXiv:1604.06174): the gradient
is that of the whole batch, for the time of one more forward pass.
"""

import logging
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

from dyhead.d2.config import CfgNode
from dyhead.errors import UserError, first_few

_KEY = "SOLVER.ACCUMULATION_STEPS"
_PARTS = ("backbone", "head")  # of a detector: they map images or features to maps

logger = logging.getLogger(__name__)


def accumulate_gradients(cfg: CfgNode, model: nn.Module) -> None:
    """Let a detector compute the images of a training step in SOLVER.ACCUMULATION_STEPS parts.

    Args:
        cfg: the config.
        model: changed in place; names of its parameters stay.

    Raises:
        UserError: the model cannot, or would compute something else.
    """
    number = cfg.SOLVER.ACCUMULATION_STEPS
    if number < 1:
        raise UserError(f"{_KEY} is {number}: make it 1 or more.")
    if number == 1:
        return
    modules = [getattr(model, name, None) for name in _PARTS]
    found = [module for module in modules if isinstance(module, nn.Module)]
    _check(cfg, model, found)
    for module in found:
        _split(module, number)
    logger.info(
        "The %d images of a step are computed in up to %d parts in each process.",
        cfg.SOLVER.IMS_PER_BATCH,
        number,
    )


def _check(cfg: CfgNode, model: nn.Module, found: Sequence[nn.Module]) -> None:
    if not found:
        raise UserError(
            f"{_KEY} splits a backbone and a head, and {cfg.MODEL.META_ARCHITECTURE} has neither:"
            " set it to 1."
        )
    if cfg.MODEL.COMPILE.ENABLED:
        raise UserError(f"{_KEY} and MODEL.COMPILE.ENABLED do not go together: use one of them.")
    norms = [
        name
        for name, module in model.named_modules()
        if isinstance(module, _BatchNorm) and any(p.requires_grad for p in module.parameters())
    ]
    if norms:
        raise UserError(
            f"{_KEY}: batch norms ({first_few(norms, 2)}) would average over a part of the batch:"
            " use GN or FrozenBN."
        )


def _split(module: nn.Module, number: int) -> None:
    """Let `module` compute its batches in parts while it is trained."""
    module.forward = partial(_forward_in_parts, module, module.forward, number)  # type: ignore[method-assign]


def _forward_in_parts(
    module: nn.Module, forward: Callable[[Any], Any], number: int, inputs: Any
) -> Any:
    """Compute a batch: a tensor, or lists, tuples and dicts of them, and so the result."""
    if not (module.training and torch.is_grad_enabled()):
        return forward(inputs)
    size = _first_tensor(inputs).shape[0]
    number = min(number, size)
    bounds = [size * index // number for index in range(number + 1)]
    return _join(
        [
            checkpoint(forward, _rows(inputs, begin, end), use_reentrant=False)
            for begin, end in zip(bounds, bounds[1:], strict=False)
        ]
    )


def _first_tensor(value: Any) -> Tensor:
    while not isinstance(value, Tensor):
        value = next(iter(value.values() if isinstance(value, dict) else value))
    return value


def _rows(value: Any, begin: int, end: int) -> Any:
    """Return some images of a batch."""
    if isinstance(value, Tensor):
        return value[begin:end]
    if isinstance(value, dict):
        return {name: _rows(part, begin, end) for name, part in value.items()}
    return type(value)([_rows(part, begin, end) for part in value])


def _join(parts: Sequence[Any]) -> Any:
    """Make a batch of its parts again."""
    first = parts[0]
    if isinstance(first, Tensor):
        return torch.cat(list(parts))
    if isinstance(first, dict):
        return {name: _join([part[name] for part in parts]) for name in first}
    return type(first)([_join(group) for group in zip(*parts, strict=True)])
