"""The parts of a ResNet: stem, basic block and bottleneck block (arXiv:1512.03385).

Shapes: N images, C channels, H x W positions.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import fvcore.nn.weight_init as weight_init
from torch import Tensor, nn
from torch.nn import functional as F

from ...layers import CNNBlockBase, Conv2d, get_norm

Norm = str | Callable[[int], nn.Module | None]


def normed_conv(
    in_channels: int, out_channels: int, kernel_size: int, norm: Norm, **kwargs: Any
) -> Conv2d:
    """Convolution without bias, followed by `norm`."""
    norm_layer = get_norm(norm, out_channels)
    return Conv2d(in_channels, out_channels, kernel_size, bias=False, norm=norm_layer, **kwargs)


class BasicStem(CNNBlockBase):
    """7 x 7 convolution and max pooling, each of stride 2."""

    def __init__(self, in_channels: int = 3, out_channels: int = 64, norm: Norm = "BN") -> None:
        """Take (N, in_channels, H, W) and give (N, out_channels, H / 4, W / 4)."""
        super().__init__(in_channels, out_channels, 4)
        self.conv1 = normed_conv(in_channels, out_channels, 7, norm, stride=2, padding=3)
        weight_init.c2_msra_fill(self.conv1)

    def forward(self, x: Tensor) -> Tensor:
        """Convolve, normalize, rectify and pool."""
        return F.max_pool2d(F.relu_(self.conv1(x)), kernel_size=3, stride=2, padding=1)


class ResidualBlock(CNNBlockBase, ABC):
    """A block of relu(residual(x) + shortcut(x)); a change of channels makes a shortcut project."""

    def __init__(self, in_channels: int, out_channels: int, stride: int, norm: Norm) -> None:
        """Build the shortcut; the subclass builds its convolutions and initializes all."""
        super().__init__(in_channels, out_channels, stride)
        self.shortcut: Conv2d | None = None
        if in_channels != out_channels:
            self.shortcut = normed_conv(in_channels, out_channels, 1, norm, stride=stride)

    def initialize(self, *convs: Conv2d) -> None:
        """Fill the block's convolutions, then its shortcut, for rectified activations."""
        for conv in (*convs, self.shortcut):
            if conv is not None:
                weight_init.c2_msra_fill(conv)

    @abstractmethod
    def residual(self, x: Tensor) -> Tensor:
        """Compute what the block adds to its shortcut."""

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C_in, H, W) to (N, C_out, H / stride, W / stride)."""
        out = self.residual(x)
        out += x if self.shortcut is None else self.shortcut(x)
        return F.relu_(out)


class BasicBlock(ResidualBlock):
    """Two 3 x 3 convolutions, as in ResNet-18 and ResNet-34; the first has the stride."""

    def __init__(
        self, in_channels: int, out_channels: int, *, stride: int = 1, norm: Norm = "BN"
    ) -> None:
        """Build the block; `norm` is what `get_norm` takes."""
        super().__init__(in_channels, out_channels, stride, norm)
        self.conv1 = normed_conv(in_channels, out_channels, 3, norm, stride=stride, padding=1)
        self.conv2 = normed_conv(out_channels, out_channels, 3, norm, padding=1)
        self.initialize(self.conv1, self.conv2)

    def residual(self, x: Tensor) -> Tensor:
        """Convolve twice."""
        return self.conv2(F.relu_(self.conv1(x)))


class BottleneckBlock(ResidualBlock):
    """1 x 1, 3 x 3 and 1 x 1 convolutions, as in ResNet-50 and deeper, and in ResNeXt."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        bottleneck_channels: int,
        stride: int = 1,
        num_groups: int = 1,
        norm: Norm = "BN",
        stride_in_1x1: bool = False,
        dilation: int = 1,
    ) -> None:
        """Build the block.

        Args:
            in_channels: channels of the input.
            out_channels: channels of the output.
            bottleneck_channels: channels of the 3 x 3 convolution.
            stride: stride of the whole block.
            num_groups: groups of the 3 x 3 convolution; more than 1 makes it a ResNeXt block.
            norm: what `get_norm` takes.
            stride_in_1x1: whether the first convolution has the stride (the original weights of
                MSRA) or the second (torchvision's and ResNeXt's).
            dilation: dilation of the 3 x 3 convolution.
        """
        super().__init__(in_channels, out_channels, stride, norm)
        first_stride, second_stride = (stride, 1) if stride_in_1x1 else (1, stride)
        width = bottleneck_channels
        self.conv1 = normed_conv(in_channels, width, 1, norm, stride=first_stride)
        self.conv2 = normed_conv(
            width,
            width,
            3,
            norm,
            stride=second_stride,
            padding=dilation,
            dilation=dilation,
            groups=num_groups,
        )
        self.conv3 = normed_conv(width, out_channels, 1, norm)
        self.initialize(self.conv1, self.conv2, self.conv3)

    def residual(self, x: Tensor) -> Tensor:
        """Narrow, convolve and widen."""
        return self.conv3(F.relu_(self.conv2(F.relu_(self.conv1(x)))))
