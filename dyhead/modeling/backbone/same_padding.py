"""Padding of convolutions as TensorFlow does it, in a form that can be exported for any size."""

from typing import Any

import torch
from timm.layers.conv2d_same import Conv2dSame
from timm.layers.padding import pad_same
from torch import Tensor, nn
from torch.nn import functional as F

from dyhead.ops.recording import is_exported, is_trained_eagerly


def make_exportable(model: nn.Module) -> None:
    """Let the convolutions of a timm model that pad as TensorFlow does be exported; in place."""
    for module in model.modules():
        if type(module) is Conv2dSame:
            module.__class__ = SameConv2d


class SameConv2d(Conv2dSame):
    """A convolution of timm with ceil(size / stride) outputs, padded as TensorFlow does."""

    def forward(self, x: Tensor) -> Tensor:
        """Convolve (N, C, H, W)."""
        return self._conv_forward(self.pad(x), self.weight, self.bias)

    def pad(self, maps: Tensor) -> Tensor:
        """Add zeros around (N, C, H, W); in an export possibly some more that are never read."""
        if not is_exported():
            geometry = list(self.kernel_size), list(self.stride), list(self.dilation)
            pad = _SamePadding.apply if is_trained_eagerly(maps) else pad_same
            padded: Tensor = pad(maps, *geometry)
            return padded
        for dim, kernel, stride, dilation in zip(
            (2, 3), self.kernel_size, self.stride, self.dilation, strict=True
        ):
            maps = _pad_any_size(maps, dim, 1 + dilation * (kernel - 1), stride)
        return maps


class _SamePadding(torch.autograd.Function):
    """`pad_same` whose gradient is a part of the one behind it; that of `F.pad` is a copy."""

    @staticmethod
    def forward(
        ctx: Any, maps: Tensor, kernel: list[int], stride: list[int], dilation: list[int]
    ) -> Tensor:
        padded: Tensor = pad_same(maps, kernel, stride, dilation)
        ctx.size = maps.shape[-2:]
        ctx.before = [(p - s) // 2 for p, s in zip(padded.shape[-2:], ctx.size, strict=True)]
        return padded

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        for dim, before, size in zip((2, 3), ctx.before, ctx.size, strict=True):
            grad = grad.narrow(dim, before, size)
        return grad, None, None, None


def _pad_any_size(maps: Tensor, dim: int, reach: int, stride: int) -> Tensor:
    """Pad one dimension so that the convolution has the same outputs as with `pad_same`.

    The zeros before a map depend on the remainder of its size. Sizes with remainders in them grow,
    convolution after convolution, to expressions on which an export works for hours. So zeros are
    added for all sizes, and only the beginning of what is taken depends on the remainder.
    """
    size = maps.shape[dim]
    before = torch.sym_max(reach - stride + (-size) % stride, 0) // 2
    most, least = (reach - 1) // 2, max(reach - stride, 0) // 2
    amounts = [0, 0] * (3 - dim) + [most, reach - 1 - least]
    return F.pad(maps, amounts).narrow(dim, most - before, size + reach - 1)
