"""Deformable convolutions as layers (arXiv:1703.06211, arXiv:1811.11168), by our own operator.

Shapes: N images, C channels, H x W input size, Y x X output size, K taps, D groups of offsets.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.modules.utils import _pair

from dyhead.ops.deform_conv import grouped_deform_conv2d

Activation = Callable[[Tensor], Tensor]


class _DeformableConv(nn.Module):
    """The parameters of a convolution whose positions are given from outside."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | tuple[int, int],
        stride: int | tuple[int, int],
        padding: int | tuple[int, int],
        dilation: int | tuple[int, int],
        groups: int,
        deformable_groups: int,
        bias: bool,
        norm: nn.Module | None,
        activation: Activation | None,
    ) -> None:
        super().__init__()
        divisors = {"groups": groups, "deformable_groups": deformable_groups}
        for name, divisor in divisors.items():
            if in_channels % divisor or (name == "groups" and out_channels % divisor):
                raise ValueError(
                    f"{name}={divisor} has to divide the channels, {in_channels} to {out_channels}."
                )
        self.in_channels, self.out_channels = in_channels, out_channels
        self.kernel_size = _pair(kernel_size)
        self.stride, self.padding, self.dilation = _pair(stride), _pair(padding), _pair(dilation)
        self.groups, self.deformable_groups = groups, deformable_groups
        self.norm, self.activation = norm, activation
        self.weight = nn.Parameter(
            torch.empty(out_channels, in_channels // groups, *self.kernel_size)
        )
        self.bias = nn.Parameter(torch.zeros(out_channels)) if bias else None
        nn.init.kaiming_uniform_(self.weight, nonlinearity="relu")

    def _convolve(self, x: Tensor, offset: Tensor, mask: Tensor | None) -> Tensor:
        geometry = (self.stride, self.padding, self.dilation)
        out = grouped_deform_conv2d(x, offset, mask, self.weight, self.bias, *geometry)
        if self.norm is not None:
            out = self.norm(out)
        return out if self.activation is None else self.activation(out)

    def extra_repr(self) -> str:
        """Name the arguments when the module is printed."""
        names = ("kernel_size", "stride", "padding", "dilation", "groups", "deformable_groups")
        options = ", ".join(f"{name}={getattr(self, name)}" for name in names)
        return f"{self.in_channels}, {self.out_channels}, {options}, bias={self.bias is not None}"


class DeformConv(_DeformableConv):
    """A convolution whose taps are moved at every position (DCN), without a bias."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | tuple[int, int],
        stride: int | tuple[int, int] = 1,
        padding: int | tuple[int, int] = 0,
        dilation: int | tuple[int, int] = 1,
        groups: int = 1,
        deformable_groups: int = 1,
        bias: bool = False,
        norm: nn.Module | None = None,
        activation: Activation | None = None,
    ) -> None:
        """Take `nn.Conv2d`'s arguments, D, and what is applied to the output, `norm` first.

        Raises:
            ValueError: `bias`, which the operator of DCN has none of, or a number of groups that
                does not divide the channels.
        """
        if bias:
            raise ValueError("DeformConv has no bias: pass bias=False, or use ModulatedDeformConv.")
        super().__init__(
            *(in_channels, out_channels, kernel_size, stride, padding, dilation),
            *(groups, deformable_groups, False, norm, activation),
        )

    def forward(self, x: Tensor, offset: Tensor) -> Tensor:
        """Map (N, C, H, W) and offsets (N, 2 K D, Y, X), (dy, dx) in pixels, to (N, O, Y, X)."""
        return self._convolve(x, offset, None)


class ModulatedDeformConv(_DeformableConv):
    """A convolution whose taps are moved and weighted at every position (DCNv2)."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | tuple[int, int],
        stride: int | tuple[int, int] = 1,
        padding: int | tuple[int, int] = 0,
        dilation: int | tuple[int, int] = 1,
        groups: int = 1,
        deformable_groups: int = 1,
        bias: bool = True,
        norm: nn.Module | None = None,
        activation: Activation | None = None,
    ) -> None:
        """Take `nn.Conv2d`'s arguments, D, and what is applied to the output, `norm` first.

        Raises:
            ValueError: a number of groups does not divide the channels.
        """
        super().__init__(
            *(in_channels, out_channels, kernel_size, stride, padding, dilation),
            *(groups, deformable_groups, bias, norm, activation),
        )

    def forward(self, x: Tensor, offset: Tensor, mask: Tensor) -> Tensor:
        """Map (N, C, H, W), offsets as `DeformConv`'s and masks (N, K D, Y, X) to (N, O, Y, X)."""
        return self._convolve(x, offset, mask)
