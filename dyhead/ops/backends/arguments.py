"""The arguments of a modulated deformable convolution: their checks and their conversion.

Shape letters: N batch, C input channels, O output channels, H x W input size, Y x X output size,
K = kernel height * kernel width sampling points ("taps") in row-major order.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

Pair = tuple[int, int]
Converted = dict[tuple[int, torch.dtype], Tensor]  # by the identity of what was converted


class DeformConv(NamedTuple):
    """The arguments of one convolution: those of `modulated_deform_conv2d`."""

    input: Tensor
    offset: Tensor
    mask: Tensor
    weight: Tensor
    bias: Tensor | None = None
    stride: int | Pair = 1
    padding: int | Pair = 0
    dilation: int | Pair = 1

    def pairs(self) -> tuple[Pair, Pair, Pair]:
        """Return stride, padding and dilation, each as (vertical, horizontal)."""
        return _pair(self.stride), _pair(self.padding), _pair(self.dilation)


def check_together(
    convolutions: Sequence[DeformConv], level_sizes: Sequence[Pair] | None = None
) -> list[DeformConv]:
    """Check convolutions that run together, and bring them to the types of `Backend.forward`.

    Tensors that several of them share stay shared.

    Args:
        convolutions: at least one.
        level_sizes: for each of them the height and width to which its output is upsampled.

    Raises:
        ValueError: shapes do not fit each other, the inputs' devices or types differ, or a level's
            size is missing or smaller than the output.
    """
    converted: Converted = {}
    calls = [_checked(convolution, converted) for convolution in convolutions]
    device, dtype = calls[0].input.device, calls[0].input.dtype
    if any((call.input.device, call.input.dtype) != (device, dtype) for call in calls):
        raise ValueError("Convolutions that run together need inputs of one device and one type.")
    if level_sizes is not None:
        _check_level_sizes(calls, level_sizes)
    return calls


def _checked(convolution: DeformConv, converted: Converted) -> DeformConv:
    """Check one convolution and convert its tensors, each once with those of other convolutions."""
    input, offset, mask, weight, bias, *options = convolution
    geometry = tuple(map(_pair, options))
    _check_shapes(input, offset, mask, weight, bias, *geometry)
    dtype = _compute_type(input)
    # 16 bits hold a coordinate of 600 to half a pixel at best.
    exact = torch.promote_types(dtype, torch.float32)

    def convert(tensor: Tensor, dtype: torch.dtype) -> Tensor:
        if torch.compiler.is_compiling():  # which shares equal casts by itself
            return tensor.to(dtype)
        key = id(tensor), dtype
        if key not in converted:
            converted[key] = tensor.to(dtype)
        return converted[key]

    return DeformConv(
        convert(input, dtype),
        convert(offset, exact),
        convert(mask, exact),
        convert(weight, dtype),
        None if bias is None else convert(bias, dtype),
        *geometry,
    )


def _check_level_sizes(calls: Sequence[DeformConv], level_sizes: Sequence[Pair]) -> None:
    """Refuse sizes (height, width) to which the outputs of `calls` cannot be upsampled."""
    if len(calls) != len(level_sizes):
        raise ValueError(f"{len(calls)} convolutions need as many sizes, got {len(level_sizes)}.")
    for call, (height, width) in zip(calls, level_sizes, strict=True):
        own_height, own_width = call.mask.shape[2:]
        if height < own_height or width < own_width:
            raise ValueError(
                f"A level of {height} x {width} is smaller than the {own_height} x {own_width}"
                " output that is to be upsampled to it."
            )


def _compute_type(input: Tensor) -> torch.dtype:
    device_type = input.device.type
    if input.dtype != torch.float64 and torch.is_autocast_enabled(device_type):
        return torch.get_autocast_dtype(device_type)
    return input.dtype


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
    if min(input.shape[1:]) < 1:
        raise ValueError(f"input must not be empty but for N, got {tuple(input.shape)}.")
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
                " dyhead.layers.map_sizes.flat_read."
            )
