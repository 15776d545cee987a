"""The modulated deformable convolution by torchvision's operator."""

import functools
from collections.abc import Sequence

import torch
from torch import Tensor

from dyhead.ops.backends import Backend, DeformConv, Gradients, PackedKernels


class TorchvisionBackend(Backend):
    """The operator of torchvision, with one group.

    Inside, everything has the type of the offsets: the operator takes one type for all, its CPU
    kernel knows no 16-bit type, and 16 bits could not hold the coordinates.
    """

    name = "torchvision"
    chosen_on = ("cuda",)

    def why_not(self, device: torch.device) -> str:
        """Say that torchvision lacks a kernel for a device."""
        if device.type != "cpu" and not has_kernel(device):
            return f"this torchvision was built without a kernel for {device.type}"
        return ""

    def forward(self, convolutions: Sequence[DeformConv], packed: PackedKernels) -> list[Tensor]:
        """Compute the outputs one by one, laid out as torchvision does."""
        return [_forward(convolution) for convolution in convolutions]

    def gradients(
        self,
        grads: Sequence[Tensor],
        convolutions: Sequence[DeformConv],
        needed: Sequence[Sequence[bool]],
    ) -> list[Gradients]:
        """Compute the gradients one by one."""
        return list(map(_gradients, grads, convolutions, needed))


def _forward(convolution: DeformConv) -> Tensor:
    from torchvision.ops import deform_conv2d  # takes a second to import

    input, offset, mask, weight, bias, *_ = convolution
    dtype = offset.dtype
    output = deform_conv2d(
        input.to(dtype),
        offset,
        weight.to(dtype),
        None if bias is None else bias.to(dtype),
        *convolution.pairs(),
        mask,
    )
    return output.to(input.dtype)


def _gradients(grad_output: Tensor, convolution: DeformConv, needed: Sequence[bool]) -> Gradients:
    import torchvision.ops  # noqa: F401  registers the operator

    input, offset, mask, weight, *_ = convolution
    stride, padding, dilation = convolution.pairs()
    dtype, groups = offset.dtype, 1
    found = torch.ops.torchvision._deform_conv2d_backward(
        grad_output.to(dtype).contiguous(),
        input.to(dtype),
        weight.to(dtype),
        offset,
        mask,
        weight.new_zeros(len(weight), dtype=dtype),  # the bias, whose values do not matter
        *stride,
        *padding,
        *dilation,
        groups,
        groups,
        True,
    )
    grad_input, grad_weight, grad_offset, grad_mask, grad_bias = found
    grads = grad_input, grad_offset, grad_mask, grad_weight, grad_bias
    types = input.dtype, dtype, dtype, weight.dtype, weight.dtype
    return tuple(  # type: ignore[return-value]
        grad.to(kind) if is_needed else None
        for grad, kind, is_needed in zip(grads, types, needed, strict=True)
    )


@functools.cache
def has_kernel(device: torch.device) -> bool:
    """Try the operator on one pixel, once."""
    from torchvision.ops import deform_conv2d

    pixel = torch.zeros(1, 1, 1, 1, device=device)
    try:
        deform_conv2d(pixel, pixel.expand(1, 2, 1, 1), pixel, mask=pixel)
    except torch.OutOfMemoryError:
        raise  # says nothing about the kernel
    except (RuntimeError, NotImplementedError):
        return False
    return True
