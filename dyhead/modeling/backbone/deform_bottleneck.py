"""The bottleneck block of a ResNet whose 3 x 3 convolution is deformable (DCN, DCNv2).

Dai et al., ICCV 2017 (arXiv:1703.06211) and Zhu et al., CVPR 2019 (arXiv:1811.11168). Arguments and
state-dict keys are those of Detectron2's `DeformBottleneckBlock`, which needs Detectron2's compiled
part, and a GPU to train; this one runs everywhere.

Shape letters: N images, C channels, H x W input size, Y x X output size, G offset groups.
"""

from collections.abc import Callable

import fvcore.nn.weight_init as weight_init
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dyhead.d2.layers import CNNBlockBase, Conv2d, get_norm
from dyhead.ops.deform_conv import grouped_deform_conv2d

_TAPS = 9

Norm = str | Callable[[int], nn.Module | None]


class DeformConv3x3(nn.Module):
    """A 3 x 3 convolution without bias at positions given from outside, and its normalization."""

    def __init__(
        self, channels: int, stride: int, dilation: int, num_groups: int, norm: Norm
    ) -> None:
        """Make it for `channels` in and out, in `num_groups` groups that see only themselves."""
        super().__init__()
        self.stride = stride
        self.dilation = dilation
        self.weight = nn.Parameter(torch.empty(channels, channels // num_groups, 3, 3))
        self.bias = None
        self.norm = get_norm(norm, channels)
        weight_init.c2_msra_fill(self)

    def forward(self, x: Tensor, offset: Tensor, mask: Tensor | None) -> Tensor:
        """Convolve (N, C, H, W) to (N, C, Y, X).

        Args:
            x: the input.
            offset: (N, 18 G, Y, X), interleaved (dy, dx) in pixels of `x`, group by group; each
                group of offsets serves its share of the channels.
            mask: (N, 9 G, Y, X), the importance of each position; None for 1.
        """
        geometry = (self.stride, self.dilation, self.dilation)
        convolved = grouped_deform_conv2d(x, offset, mask, self.weight, self.bias, *geometry)
        return convolved if self.norm is None else self.norm(convolved)


class DeformBottleneckBlock(CNNBlockBase):
    """1 x 1, deformable 3 x 3 and 1 x 1 convolutions beside a shortcut."""

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
        deform_modulated: bool = False,
        deform_num_groups: int = 1,
    ) -> None:
        """Build the block; it starts as the ordinary one (half of its 3 x 3, if modulated).

        Args:
            in_channels: channels of the input.
            out_channels: channels of the output.
            bottleneck_channels: channels of the 3 x 3 convolution.
            stride: stride of the whole block.
            num_groups: groups of the 3 x 3 convolution; more than 1 makes it a ResNeXt block.
            norm: what `get_norm` takes.
            stride_in_1x1: whether the first convolution has the stride, or the second.
            dilation: dilation of the 3 x 3 convolution.
            deform_modulated: learn the importance of each position too (DCNv2).
            deform_num_groups: G, groups of channels that have their own offsets.
        """
        super().__init__(in_channels, out_channels, stride)
        self.deform_modulated = deform_modulated
        width = bottleneck_channels
        first_stride, second_stride = (stride, 1) if stride_in_1x1 else (1, stride)
        self.shortcut: Conv2d | None = None
        if in_channels != out_channels:
            self.shortcut = _conv_1x1(in_channels, out_channels, stride, norm)
        self.conv1 = _conv_1x1(in_channels, width, first_stride, norm)
        self.conv2_offset = Conv2d(
            width,
            (3 if deform_modulated else 2) * _TAPS * deform_num_groups,
            kernel_size=3,
            stride=second_stride,
            padding=dilation,
            dilation=dilation,
        )
        nn.init.zeros_(self.conv2_offset.weight)
        assert self.conv2_offset.bias is not None
        nn.init.zeros_(self.conv2_offset.bias)
        self.conv2 = DeformConv3x3(width, second_stride, dilation, num_groups, norm)
        self.conv3 = _conv_1x1(width, out_channels, 1, norm)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, in_channels, H, W) to (N, out_channels, H / stride, W / stride)."""
        out = F.relu_(self.conv1(x))
        # Without a norm this is the operator's own output, which autograd keeps us from changing.
        out = F.relu(self.conv2(out, *self._where(out)))
        out = self.conv3(out)
        out += x if self.shortcut is None else self.shortcut(x)
        return F.relu_(out)

    def _where(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        """Predict offset and mask, as `DeformConv3x3` takes them."""
        learned = self.conv2_offset(x)
        if not self.deform_modulated:
            return learned, None
        offset, mask = learned.split([learned.shape[1] // 3 * 2, learned.shape[1] // 3], dim=1)
        return offset, mask.sigmoid()


def _conv_1x1(in_channels: int, out_channels: int, stride: int, norm: Norm) -> Conv2d:
    norm_layer = get_norm(norm, out_channels)
    conv = Conv2d(in_channels, out_channels, 1, stride=stride, bias=False, norm=norm_layer)
    weight_init.c2_msra_fill(conv)
    return conv
