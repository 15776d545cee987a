"""The form of a model while it is evaluated: faster, with the same values but for rounding."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import nn

from dyhead.d2.config import CfgNode
from dyhead.d2.layers import Conv2d, FrozenBatchNorm2d


@contextmanager
def evaluation_form(cfg: CfgNode, model: nn.Module) -> Iterator[None]:
    """Within the context, `model` is as fast as it gets for inference.

    Frozen norms are folded into convolutions, unless a compiler fuses them with more; with
    MODEL.CHANNELS_LAST, weights are channels_last on a CPU too. Afterwards all is as before.
    """
    with ExitStack() as stack:
        if cfg.MODEL.CHANNELS_LAST:
            stack.enter_context(channels_last_weights(model))
        if not cfg.MODEL.COMPILE.ENABLED:
            stack.enter_context(folded_frozen_norms(model))
        yield


@contextmanager
def channels_last_weights(model: nn.Module) -> Iterator[None]:
    """Within the context, 4-d parameters are channels_last; they stay the same objects."""
    kept = [(p, p.data) for p in model.parameters() if p.dim() == 4]
    try:
        for parameter, data in kept:
            parameter.data = data.contiguous(memory_format=torch.channels_last)
        yield
    finally:
        for parameter, data in kept:
            parameter.data = data


@contextmanager
def folded_frozen_norms(model: nn.Module) -> Iterator[None]:
    """Within the context, convolutions do the work of the FrozenBatchNorm2d that follow them.

    Frozen normalisation is affine, so a convolution can do it as well, which saves a pass over
    memory. Within the context `model` has other parameters, and afterwards its own again.
    """
    convolutions = [module for module in model.modules() if _is_normalised(module)]
    kept = [(conv, conv.weight, conv.bias, conv.norm) for conv in convolutions]
    try:
        for conv in convolutions:
            _fold(conv)
        yield
    finally:
        for conv, weight, bias, norm in kept:
            conv.weight, conv.bias, conv.norm = weight, bias, norm


def _is_normalised(module: nn.Module) -> bool:
    # The host's Conv2d applies `norm` right after itself; what derives from it may not.
    return type(module) is Conv2d and isinstance(module.norm, FrozenBatchNorm2d)


@torch.no_grad()
def _fold(conv: Any) -> None:
    norm = conv.norm
    scale = norm.weight * (norm.running_var + norm.eps).rsqrt()
    shift = norm.bias - norm.running_mean * scale
    weight = torch.empty_like(conv.weight).copy_(
        conv.weight * scale.view(-1, 1, 1, 1)
    )  # its layout
    conv.weight = nn.Parameter(weight)
    conv.bias = nn.Parameter(shift if conv.bias is None else conv.bias * scale + shift)
    conv.norm = None
