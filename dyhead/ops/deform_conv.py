"""Modulated deformable convolution (DCNv2, Zhu et al., CVPR 2019, equation 1).

Shape letters: N batch, C input channels, O output channels, H x W input size, Y x X output size,
K = kernel height * kernel width sampling points ("taps") in row-major order.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from dyhead.ops.backends import choose_backend, implementation, implementation_with_moments
from dyhead.ops.compiled_op import deform_conv_as_operator
from dyhead.ops.recording import is_exported, is_recorded

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

    All back ends give the same values and gradients, to the rounding of their type: the autocast
    type under autocast, else the input's. Only the operands of the matrix product and the result
    have that type: coordinates, which 16 bits cannot hold, and sums are float32 (float64 for
    float64 input). Gradients have the types of the arguments. Second derivatives are not available.

    Where it is recorded (torch.compile, torch.export, torch.jit.trace, tensors without data) the
    call is one operator, torch.ops.dyhead.modulated_deform_conv2d (`dyhead.ops.compiled_op`).

    Args:
        input: (N, C, H, W); channels_last saves a copy.
        offset: (N, 2K, Y, X) in input pixels, channel 2k is dy and channel 2k + 1 is dx of tap k.
        mask: (N, K, Y, X), the importance of each tap.
        weight: (O, C, kernel height, kernel width).
        bias: (O,) or None.
        stride, padding, dilation: one int, or (vertical, horizontal).
        backend: "bags", "torchvision", "cpp" or "triton"; None leaves it to `choose_backend`.

    Returns:
        (N, O, Y, X) in the autocast type, else in the input's; channels_last, except from
        "torchvision".

    Raises:
        ValueError: shapes do not fit each other, or there is no such back end on this device.
        RuntimeError: the legacy ONNX exporter (dynamo=False) asks, see `ops.recording`.
    """
    convolution = DeformConv(input, offset, mask, weight, bias, stride, padding, dilation)
    (output,) = foreach_modulated_deform_conv2d([convolution], backend)
    return output


def foreach_modulated_deform_conv2d(
    convolutions: Sequence[DeformConv], backend: str | None = None
) -> list[Tensor]:
    """Run several convolutions that do not depend on each other, at once where a back end can.

    In C++ they share one parallel loop. On a GPU those that agree in everything but images and
    their sizes, offsets, kernels' values and strides share their launches. Where images are small,
    that is what counts.

    Args:
        convolutions: all on one device, their inputs of one type.
        backend: as for `modulated_deform_conv2d`.

    Returns:
        What `modulated_deform_conv2d` returns, for each; they may be parts of one storage.

    Raises:
        ValueError: as `modulated_deform_conv2d` does, or devices or types differ.
    """
    if not convolutions:
        return []
    calls = _checked_together(convolutions)
    device, dtype = calls[0].input.device, calls[0].input.dtype
    if is_recorded(*(call.input for call in calls)):
        # Not cut into pieces: PyTorch 2.6 cannot compile a slice of a named tuple.
        outputs = [deform_conv_as_operator(*call, backend or "") for call in calls]
        return [_in_plain_layout(output) for output in outputs] if is_exported() else outputs
    function = implementation(choose_backend(device, backend, dtype))
    with torch.autocast(device.type, enabled=False):
        return function(calls)


def _in_plain_layout(tensor: Tensor) -> Tensor:
    return tensor.clone(memory_format=torch.contiguous_format)


def foreach_deform_conv_with_moments(
    convolutions: Sequence[DeformConv], level_sizes: Sequence[Pair], backend: str | None = None
) -> tuple[list[Tensor], list[Tensor] | None]:
    """Run convolutions and measure the channels of their outputs before these leave the cache.

    Args:
        convolutions, backend: as for `foreach_modulated_deform_conv2d`; at least one, and not where
            `is_recorded`.
        level_sizes: for each convolution the H, W to which its output will be upsampled; its own
            size if it will not.

    Returns:
        The outputs, and for each of them (3, N, O), what `branch_mix.channel_moments` gives for it,
        without gradients; None instead where the back end cannot take moments as it goes.

    Raises:
        ValueError: as `foreach_modulated_deform_conv2d` does, or a level's size is missing or
            smaller than the output.
    """
    calls = _checked_together(convolutions)
    _check_level_sizes(calls, level_sizes)
    device, dtype = calls[0].input.device, calls[0].input.dtype
    name = choose_backend(device, backend, dtype)
    with torch.autocast(device.type, enabled=False):
        if function := implementation_with_moments(name):
            return function(calls, level_sizes)
        return implementation(name)(calls), None


def _checked_together(convolutions: Sequence[DeformConv]) -> list[DeformConv]:
    """The convolutions as a back end takes them; what they share stays shared."""
    converted: Converted = {}
    calls = [_checked(convolution, converted) for convolution in convolutions]
    device, dtype = calls[0].input.device, calls[0].input.dtype
    if any((call.input.device, call.input.dtype) != (device, dtype) for call in calls):
        raise ValueError("Convolutions that run together need inputs of one device and one type.")
    return calls


def _checked(convolution: DeformConv, converted: Converted) -> DeformConv:
    """The convolution as a back end takes it: shapes that fit, its types, its pairs.

    Args:
        convolution: as it was given.
        converted: what other convolutions of the list share with it stays shared.
    """
    input, offset, mask, weight, bias, *options = convolution
    geometry = tuple(map(_pair, options))
    _check_shapes(input, offset, mask, weight, bias, *geometry)
    dtype = _compute_type(input)
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
                " dyhead.ops.flat_read."
            )
