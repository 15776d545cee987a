"""The ordinary convolution that predicts where deformable ones look."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable


def predict_offsets(convolution: nn.Conv2d, level: Tensor) -> Tensor:
    """Apply a 3x3 `convolution` to (N, C, H, W) with the accuracy that offsets want.

    An error of an offset is multiplied by the image's gradient. On CPU, oneDNN's float32
    convolution of a channels_last image is four times less accurate than that of an NCHW one, at
    the same speed. So the image is laid out anew; what backward keeps is the image as it came,
    which the deformable convolutions keep too.
    """
    is_inaccurate = (
        type(level) is Tensor
        and level.device.type == "cpu"
        and level.dtype == torch.float32
        and not torch.is_autocast_enabled("cpu")
        and not level.is_contiguous()
    )
    if not is_inaccurate or torch.compiler.is_compiling() or torch.jit.is_tracing():
        return convolution(level)
    return _ConvolutionOfRelaidImage.apply(level, convolution.weight, convolution.bias)


class _ConvolutionOfRelaidImage(torch.autograd.Function):
    """A 3x3 convolution with padding 1."""

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
