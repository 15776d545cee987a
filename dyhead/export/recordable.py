"""Brings a detector into the form in which torch.export records it for pictures of any size."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dyhead.evaluation.inference_optimization import set_memory_format


@contextmanager
def recordable(model: nn.Module) -> Iterator[None]:
    """Keep `model` from steps that make torch.export specialise on sizes or layouts.

    The graph would be bound to them. Values stay the same; on leaving the context the model is
    as before.
    """
    with ExitStack() as undo:
        undo.callback(set_memory_format(model, torch.contiguous_format))
        for convolution in [m for m in model.modules() if _has_one_output(m)]:
            convolution.forward = partial(_convolve, convolution)  # type: ignore
            undo.callback(delattr, convolution, "forward")
        yield


def _has_one_output(module: nn.Module) -> bool:
    return type(module) is nn.Conv2d and module.out_channels == 1


def _convolve(convolution: nn.Conv2d, x: Tensor) -> Tensor:
    """Compute the one channel twice, since the layout of one channel of one pixel is ambiguous."""
    weight = torch.cat([convolution.weight] * 2)
    bias = None if convolution.bias is None else torch.cat([convolution.bias] * 2)
    options = convolution.stride, convolution.padding, convolution.dilation
    twice = F.conv2d(x, weight, bias, *options)  # type: ignore[arg-type]
    return twice[:, :1].clone(memory_format=torch.contiguous_format)
