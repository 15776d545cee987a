"""The modulated deformable convolution by torchvision's operator."""

import functools
from collections.abc import Sequence

import torch
from torch import Tensor
from torchvision.ops import deform_conv2d

Pair = tuple[int, int]


def deform_conv_by_torchvision(
    input: Tensor,
    offset: Tensor,
    mask: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: Pair,
    padding: Pair,
    dilation: Pair,
) -> Tensor:
    """Compute `modulated_deform_conv2d`: shapes checked, types as a back end gets them.

    Inside, everything has the type of the offsets: the operator takes one type for all, its CPU
    kernel knows no 16-bit type, and 16 bits could not hold the coordinates.
    """
    dtype = offset.dtype
    output = deform_conv2d(
        input.to(dtype),
        offset,
        weight.to(dtype),
        None if bias is None else bias.to(dtype),
        stride,
        padding,
        dilation,
        mask,
    )
    return output.to(input.dtype)


def gradients_by_torchvision(
    grad_output: Tensor,
    input: Tensor,
    offset: Tensor,
    mask: Tensor,
    weight: Tensor,
    stride: Pair,
    padding: Pair,
    dilation: Pair,
    needed: Sequence[bool],
) -> tuple[Tensor | None, ...]:
    """Gradients of input, offset, mask, weight and bias; None where not `needed`."""
    dtype, groups = offset.dtype, 1
    grad_input, grad_weight, grad_offset, grad_mask, grad_bias = (
        torch.ops.torchvision._deform_conv2d_backward(
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
    )
    grads = grad_input, grad_offset, grad_mask, grad_weight, grad_bias
    types = input.dtype, dtype, dtype, weight.dtype, weight.dtype
    return tuple(
        grad.to(kind) if is_needed else None
        for grad, kind, is_needed in zip(grads, types, needed, strict=True)
    )


@functools.cache
def serves(device: torch.device) -> bool:
    """Whether torchvision was built with a kernel for `device`: tried once, on one pixel."""
    pixel = torch.zeros(1, 1, 1, 1, device=device)
    try:
        deform_conv2d(pixel, pixel.expand(1, 2, 1, 1), pixel, mask=pixel)
    except torch.OutOfMemoryError:
        raise  # says nothing about the kernel
    except (RuntimeError, NotImplementedError):
        return False
    return True
