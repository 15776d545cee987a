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

    An error of an offset is multiplied by the level's gradient. On CPU, oneDNN's float32
    convolution of a channels_last level is four times less accurate than that of an NCHW one, at
    the same speed. So such a level is copied to NCHW's order; backward keeps it as it came, which
    the deformable convolutions keep too.
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
        return _ContiguousConv2d.apply(input, self.weight, self.bias)


class _ContiguousConv2d(torch.autograd.Function):
    """A 3x3 convolution, padding 1, of a contiguous copy; for backward it keeps the original."""

    @staticmethod
    def forward(ctx: Any, level: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        ctx.save_for_backward(level, weight)
        return F.conv2d(level.contiguous(), weight, bias, padding=1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        level, weight = ctx.saved_tensors
        return torch.ops.aten.convolution_backward(
            grad, level, weight, [len(weight)], [1, 1], [1, 1], [1, 1], False, [0, 0], 1,
            list(ctx.needs_input_grad),
        )  # fmt: skip
