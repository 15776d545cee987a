"""Backward passes that have no derivative of their own, and say so to whoever asks for it."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

Gradients = tuple[Tensor | None, ...]


def once_differentiable(
    backward: Callable[[Any, Sequence[Tensor], Sequence[Tensor]], Gradients],
) -> Callable[..., Gradients]:
    """Make `backward(ctx, saved, grads)` that of a torch.autograd.Function, without a derivative.

    PyTorch's decorator of this name does not connect what it returns with the tensors that it was
    computed from. So `torch.autograd.grad` of a gradient would pass by the error that stands there,
    and give a sum that lacks this part.
    """

    @functools.wraps(backward)
    def wrapper(ctx: Any, *grads: Tensor) -> Gradients:
        saved = ctx.saved_tensors
        with torch.no_grad():
            found = backward(ctx, saved, grads)
        if not torch.is_grad_enabled():
            return found
        return _WithoutDerivative.apply(len(found), *found, *saved, *grads)

    return wrapper


class _WithoutDerivative(torch.autograd.Function):
    """The first `count` tensors as they are, connected with all others."""

    @staticmethod
    def forward(ctx: Any, count: int, *tensors: Tensor | None) -> Gradients:
        return tensors[:count]

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Gradients:
        raise RuntimeError(
            "Deformable convolutions and DyHead blocks have no second derivatives: leave them out"
            " of what is differentiated twice."
        )
