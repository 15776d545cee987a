"""Makes a model faster for inference: frozen norms folded into convolutions, channels_last weights.

Predictions stay the same but for rounding.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import nn

from dyhead.d2.config import CfgNode
from dyhead.d2.layers import Conv2d, FrozenBatchNorm2d
from dyhead.layers.frozen_norm import fold_norm

Undo = Callable[[], None]


@contextmanager
def optimized_for_inference(cfg: CfgNode, model: nn.Module) -> Iterator[None]:
    """Optimize `model` for inference within the context; afterwards all is as before."""
    undo = optimize_for_inference(cfg, model)
    try:
        yield
    finally:
        undo()


def optimize_for_inference(cfg: CfgNode, model: nn.Module) -> Undo:
    """Make `model` as fast as it gets for inference, in place.

    Frozen norms are folded into convolutions, unless a compiler fuses them with more; with
    MODEL.CHANNELS_LAST, weights are channels_last on a CPU too.

    Returns:
        a function that brings the model's own parameters back.
    """
    undo_all = ExitStack()  # the last first
    if cfg.MODEL.CHANNELS_LAST:
        undo_all.callback(set_memory_format(model, torch.channels_last))
    if not cfg.MODEL.COMPILE.ENABLED:
        undo_all.callback(fold_frozen_norms(model))
    return undo_all.close


def set_memory_format(model: nn.Module, memory_format: torch.memory_format) -> Undo:
    """Lay the 4-d parameters out in a memory format; they stay the same objects.

    Returns:
        a function that brings the former layout back.
    """
    kept = [(p, p.data) for p in model.parameters() if p.dim() == 4]
    for parameter, data in kept:
        parameter.data = data.clone(memory_format=memory_format)

    def undo() -> None:
        for parameter, data in kept:
            parameter.data = data

    return undo


def fold_frozen_norms(model: nn.Module) -> Undo:
    """Fold every FrozenBatchNorm2d into the convolution before it.

    That saves a pass over memory. `model` has other parameters then.

    Returns:
        a function that brings the model's own parameters and norms back.
    """
    convolutions = [module for module in model.modules() if _is_normalised(module)]
    kept = [(conv, conv.weight, conv.bias, conv.norm) for conv in convolutions]
    for conv in convolutions:
        _fold(conv)

    def undo() -> None:
        for conv, weight, bias, norm in kept:
            conv.weight, conv.bias, conv.norm = weight, bias, norm

    return undo


def _is_normalised(module: nn.Module) -> bool:
    # The host's Conv2d applies `norm` right after itself; what derives from it may not.
    return type(module) is Conv2d and isinstance(module.norm, FrozenBatchNorm2d)


@torch.no_grad()
def _fold(conv: Any) -> None:
    weight, bias = fold_norm(conv, conv.norm)
    # The copy keeps the weight's memory format, which a product by broadcasting need not have.
    conv.weight = nn.Parameter(torch.empty_like(conv.weight).copy_(weight))
    conv.bias = nn.Parameter(bias)
    conv.norm = None
