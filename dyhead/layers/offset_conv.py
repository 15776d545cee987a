"""The convolution that predicts offsets and masks of deformable convolutions."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

KERNEL_SIZE = 3
PADDING = KERNEL_SIZE // 2
TAPS = KERNEL_SIZE * KERNEL_SIZE


class OffsetConv(nn.Conv2d):
    """A 3x3 convolution to 18 offsets and 9 mask logits per position, accurate in any layout.

    An error of an offset is multiplied by the image's gradient. On CPU, oneDNN's float32
    convolution of a channels_last image is four times less accurate than that of an NCHW one, at
    the same speed. So such an image is laid out anew; what backward keeps is the image as it came,
    which the deformable convolutions keep too.
    """

    def __init__(self, in_channels: int, offset_init: str = "default") -> None:
        """Take the initialisation, "default" or "zero", from `BlockOptions.offset_init`."""
        super().__init__(in_channels, 3 * TAPS, KERNEL_SIZE, padding=PADDING)
        if offset_init == "zero":
            nn.init.zeros_(self.weight)
            nn.init.zeros_(self.get_parameter("bias"))

    def forward(self, input: Tensor) -> Tensor:
        """Compute (N, 27, H, W) from (N, C, H, W)."""
        is_inaccurate = (
            type(input) is Tensor
            and input.device.type == "cpu"
            and input.dtype == torch.float32
            and not torch.is_autocast_enabled("cpu")
            and not input.is_contiguous()
        )
        is_recorded = torch.compiler.is_compiling() or torch.jit.is_tracing()
        if is_recorded or not is_inaccurate:
            return super().forward(input)
        return _ConvolutionOfRelaidImage.apply(input, self.weight, self.bias)


class _ConvolutionOfRelaidImage(torch.autograd.Function):
    """A 3x3 convolution with padding 1 that keeps the image in the layout in which it came."""

    @staticmethod
    def forward(ctx: Any, image: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        ctx.save_for_backward(image, weight)
        return F.conv2d(image.contiguous(), weight, bias, padding=1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        image, weight = ctx.saved_tensors
        return torch.ops.aten.convolution_backward(
            grad, image, weight, [len(weight)], [1, 1], [1, 1], [1, 1], False, [0, 0], 1,
            list(ctx.needs_input_grad),
        )  # fmt: skip
