"""In-place activations of timm's models that copy nothing for the backward pass.

Where autograd computes the gradient of an activation from its input, it copies what is overwritten.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dyhead.ops.recording import is_trained_eagerly


def avoid_copies(model: nn.Module) -> None:
    """Give a model's in-place activations, in place, classes that copy nothing in training."""
    for module in model.modules():
        if getattr(module, "inplace", False):
            module.__class__ = _WITHOUT_COPY.get(type(module), type(module))


class _ReLU6(nn.ReLU6):
    """ReLU6, in place, with a gradient that is computed from the output."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 (as in PyTorch)
        if not is_trained_eagerly(input):
            return super().forward(input)
        output: Tensor = _ClampedInPlace.apply(input, self.min_val, self.max_val)
        return output


class _ClampedInPlace(torch.autograd.Function):
    """A clamp in place that keeps the output for the backward pass instead of the input."""

    @staticmethod
    def forward(ctx: Any, maps: Tensor, least: float, most: float) -> Tensor:
        ctx.bounds = least, most
        ctx.mark_dirty(maps.clamp_(least, most))
        ctx.save_for_backward(maps)
        return maps

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        (output,) = ctx.saved_tensors
        return torch.ops.aten.hardtanh_backward(grad, output, *ctx.bounds), None, None


# The gradients of these need their input: it is left as it is.


class _SiLU(nn.SiLU):
    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 (as in PyTorch)
        return F.silu(input, inplace=not is_trained_eagerly(input))


class _Hardswish(nn.Hardswish):
    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 (as in PyTorch)
        return F.hardswish(input, inplace=not is_trained_eagerly(input))


class _Mish(nn.Mish):
    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 (as in PyTorch)
        return F.mish(input, inplace=not is_trained_eagerly(input))


_WITHOUT_COPY: dict[type, type] = {
    nn.ReLU6: _ReLU6,
    nn.SiLU: _SiLU,
    nn.Hardswish: _Hardswish,
    nn.Mish: _Mish,
}
