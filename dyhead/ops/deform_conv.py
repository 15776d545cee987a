"""Modulated deformable convolution (DCNv2, Zhu et al., CVPR 2019, equation 1).

Shape letters: N batch, C input channels, O output channels, H x W input size, Y x X output size,
K = kernel height * kernel width sampling points ("taps") in row-major order.
"""

import os
from collections.abc import Callable

import torch
from torch import Tensor
from torchvision.ops import deform_conv2d

from dyhead.ops.bilinear_bags import deform_conv_by_bags

BACKEND_VARIABLE = "DYHEAD_DEFORM_CONV"

Pair = tuple[int, int]


def _deform_conv_by_torchvision(
    input: Tensor,
    offset: Tensor,
    mask: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: Pair,
    padding: Pair,
    dilation: Pair,
) -> Tensor:
    return deform_conv2d(input, offset, weight, bias, stride, padding, dilation, mask)


_IMPLEMENTATIONS: dict[str, Callable[..., Tensor]] = {
    "bags": deform_conv_by_bags,
    "torchvision": _deform_conv_by_torchvision,
}
BACKENDS = tuple(_IMPLEMENTATIONS)


def choose_backend(device: torch.device, backend: str | None = None) -> str:
    """Name the back end that serves `device`.

    The argument wins over the environment variable DYHEAD_DEFORM_CONV, and that over the default:
    "torchvision" on CUDA, where its kernel is parallel, and "bags" everywhere else.

    Raises:
        ValueError: the argument or the variable names no back end.
    """
    requested = backend or os.environ.get(BACKEND_VARIABLE)
    if not requested:
        return "torchvision" if device.type == "cuda" else "bags"
    if requested not in BACKENDS:
        origin = "backend" if backend else f"environment variable {BACKEND_VARIABLE}"
        raise ValueError(
            f"{origin}={requested!r} names no deformable convolution:"
            f" use one of {', '.join(BACKENDS)}."
        )
    return requested


def modulated_deform_conv2d(
    input: Tensor,
    offset: Tensor,
    mask: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: int | Pair = 1,
    padding: int | Pair = 0,
    dilation: int | Pair = 1,
    backend: str | None = None,
) -> Tensor:
    """Convolve with taps that are moved and weighted separately at every output position.

    With p the output position and k the tap,
    out[p] = bias + sum_k weight[k] @ (mask[k, p] * input(stride * p - padding + dilation * k
    + offset[k, p])), where input(y, x) is bilinear interpolation in pixels and everything outside
    the input is zero: a point less than one pixel outside still gets its share of the border.

    All back ends give the same values and gradients. They compute in float32 (float64 for float64
    input), also under autocast, since bfloat16 and float16 cannot hold pixel coordinates; the
    result has the input's dtype. Second derivatives are not available.

    Args:
        input: (N, C, H, W); channels_last saves the "bags" back end a copy.
        offset: (N, 2K, Y, X) in input pixels, channel 2k is dy and channel 2k + 1 is dx of tap k.
        mask: (N, K, Y, X), the importance of each tap.
        weight: (O, C, kernel height, kernel width).
        bias: (O,) or None.
        stride, padding, dilation: one int, or (vertical, horizontal).
        backend: "bags" (plain PyTorch) or "torchvision"; None takes the environment variable
            DYHEAD_DEFORM_CONV, else the device's default (see `choose_backend`).

    Returns:
        (N, O, Y, X); the "bags" back end lays it out as channels_last.

    Raises:
        ValueError: shapes do not fit each other, or no such back end.
    """
    implementation = _IMPLEMENTATIONS[choose_backend(input.device, backend)]
    stride, padding, dilation = _pair(stride), _pair(padding), _pair(dilation)
    _check_shapes(input, offset, mask, weight, bias, stride, padding, dilation)
    dtype = torch.promote_types(input.dtype, torch.float32)
    tensors = [tensor.to(dtype) for tensor in (input, offset, mask, weight)]
    with torch.autocast(input.device.type, enabled=False):
        output = implementation(
            *tensors, None if bias is None else bias.to(dtype), stride, padding, dilation
        )
    return output.to(input.dtype)


def _pair(value: int | Pair) -> Pair:
    return (value, value) if isinstance(value, int) else (value[0], value[1])


def _output_length(length: int, kernel: int, stride: int, padding: int, dilation: int) -> int:
    return (length + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1


def _check_shapes(
    input: Tensor,
    offset: Tensor,
    mask: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: Pair,
    padding: Pair,
    dilation: Pair,
) -> None:
    if input.dim() != 4 or weight.dim() != 4 or input.shape[1] != weight.shape[1]:
        raise ValueError(
            "A deformable convolution takes input (N, C, H, W) and weight (O, C, kernel height,"
            f" kernel width); got {tuple(input.shape)} and {tuple(weight.shape)}."
        )
    if bias is not None and bias.shape != weight.shape[:1]:
        raise ValueError(f"bias must be ({weight.shape[0]},), got {tuple(bias.shape)}.")
    batch, _, *size = input.shape
    kernel = weight.shape[2:]
    height, width = map(_output_length, size, kernel, stride, padding, dilation)
    if height < 1 or width < 1:
        raise ValueError(
            f"An input of {size[0]} x {size[1]} is smaller than the {kernel[0]} x {kernel[1]}"
            f" kernel with dilation {dilation} and padding {padding}."
        )
    taps = kernel.numel()
    for name, tensor, channels in (("offset", offset, 2 * taps), ("mask", mask, taps)):
        expected = (batch, channels, height, width)
        if tensor.shape != expected:
            raise ValueError(
                f"{name} must be {expected} for this input, kernel and stride, got"
                f" {tuple(tensor.shape)}; a larger map needs an explicit reading, such as"
                " dyhead.ops.flat_read."
            )
