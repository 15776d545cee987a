"""Modulated deformable convolution (DCNv2, Zhu et al., CVPR 2019, equation 1).

Shape letters: as in `backends.arguments`.
"""

import itertools
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from dyhead.ops.backends import (
    BACKENDS,
    Backend,
    DeformConv,
    Outputs,
    PackedKernels,
    Pair,
    check_together,
    choose_backend,
)
from dyhead.ops.first_derivative import once_differentiable
from dyhead.ops.recording import deform_conv_as_operator, is_exported, is_recorded


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
    call is one operator, torch.ops.dyhead.modulated_deform_conv2d (`dyhead.ops.recording`).

    Args:
        input: (N, C, H, W); channels_last saves a copy.
        offset: (N, 2K, Y, X) in input pixels, channel 2k is dy and channel 2k + 1 is dx of tap k.
        mask: (N, K, Y, X), the importance of each tap.
        weight: (O, C, kernel height, kernel width).
        bias: (O,) or None.
        stride, padding, dilation: one int, or (vertical, horizontal).
        backend: "pytorch", "torchvision", "cpp" or "triton"; None leaves it to `choose_backend`.

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


def grouped_deform_conv2d(
    input: Tensor,
    offset: Tensor,
    mask: Tensor | None,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: int | Pair = 1,
    padding: int | Pair = 0,
    dilation: int | Pair = 1,
) -> Tensor:
    """Convolve with groups of channels and of offsets, modulated or not.

    Dai et al., ICCV 2017 (arXiv:1703.06211); Zhu et al., CVPR 2019 (arXiv:1811.11168). One group
    goes through `modulated_deform_conv2d`, several through torchvision, in float32 or better:
    coordinates need it, also under autocast.

    Shape letters: N batch, C input channels, O output channels, H x W input size, Y x X output
    size, K taps, D groups of offsets.

    Args:
        input: (N, C, H, W).
        offset: (N, 2 K D, Y, X), interleaved (dy, dx) in pixels of `input`, group by group; each
            group of offsets serves its share of the input's channels.
        mask: (N, K D, Y, X), the weight of each tap; None for 1.
        weight: (O, C / groups, kernel height, kernel width).
        bias: (O,) or None.
        stride, padding, dilation: one int, or (vertical, horizontal).

    Returns:
        (N, O, Y, X).
    """
    taps = weight.shape[2] * weight.shape[3]
    geometry = (stride, padding, dilation)
    if weight.shape[1] == input.shape[1] and offset.shape[1] == 2 * taps:
        if mask is None:
            mask = offset.new_ones(len(offset), taps, *offset.shape[2:])
        return modulated_deform_conv2d(input, offset, mask, weight, bias, *geometry)
    from torchvision.ops import deform_conv2d  # takes a second to import

    dtype = torch.promote_types(input.dtype, torch.float32)
    as_wide = [None if t is None else t.to(dtype) for t in (input, offset, weight, bias, mask)]
    wide_input, wide_offset, wide_weight, wide_bias, wide_mask = as_wide
    with torch.autocast(input.device.type, enabled=False):
        output = deform_conv2d(
            wide_input, wide_offset, wide_weight, wide_bias, *geometry, mask=wide_mask
        )
    return output.to(input.dtype)


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
    calls = check_together(convolutions)
    if is_recorded(*(call.input for call in calls)):
        # Not cut into pieces: PyTorch 2.6 cannot compile a slice of a named tuple.
        outputs = [deform_conv_as_operator(*call, backend or "") for call in calls]
        return [_in_plain_layout(output) for output in outputs] if is_exported() else outputs
    chosen = choose_backend(calls[0].input.device, backend, calls[0].input.dtype)
    return convolve(BACKENDS[chosen], calls)[0]


def foreach_deform_conv_with_moments(
    convolutions: Sequence[DeformConv],
    level_sizes: Sequence[Pair],
    backend: str | None = None,
    packed: PackedKernels | None = None,
) -> Outputs:
    """Run convolutions and measure the channels of their outputs before these leave the cache.

    Args:
        convolutions, backend: as for `foreach_modulated_deform_conv2d`; at least one, and not where
            `is_recorded`.
        level_sizes: for each convolution the H, W to which its output will be upsampled; its own
            size if it will not.
        packed: empty at first; calls that share it pack each kernel once. It may be used as long as
            no kernel changes.

    Returns:
        The outputs, and for each of them (3, N, O), what `branch_mix.channel_moments` gives for it,
        without gradients; None instead where the back end cannot take moments as it goes.

    Raises:
        ValueError: as `foreach_modulated_deform_conv2d` does, or a level's size is missing or
            smaller than the output.
    """
    calls = check_together(convolutions, level_sizes)
    chosen = choose_backend(calls[0].input.device, backend, calls[0].input.dtype)
    return convolve(BACKENDS[chosen], calls, level_sizes, packed)


def convolve(
    backend: Backend,
    convolutions: Sequence[DeformConv],
    level_sizes: Sequence[Pair] | None = None,
    packed: PackedKernels | None = None,
) -> Outputs:
    """Run a back end and tell autograd what was computed.

    Args:
        backend: one that serves the device and the type.
        convolutions: from `check_together`; at least one.
        level_sizes, packed: as for `foreach_deform_conv_with_moments`; without sizes no moments.

    Returns:
        The outputs, which need gradients where their arguments do, and the moments, which do not.
    """
    packed = {} if packed is None else packed
    moments = None
    with torch.no_grad(), torch.autocast(convolutions[0].input.device.type, enabled=False):
        if level_sizes is None:
            outputs = backend.forward(convolutions, packed)
        else:
            outputs, moments = backend.forward_with_moments(convolutions, level_sizes, packed)
    if torch.is_grad_enabled():
        for group in backend.backward_groups(convolutions):
            together = [convolutions[index] for index in group]
            tensors = [tensor for call in together for tensor in call[:5]]
            geometries = [call[5:] for call in together]
            computed = [outputs[index] for index in group]
            recorded = _DeformConvFunction.apply(backend, geometries, computed, *tensors)
            for index, output in zip(group, recorded, strict=True):
                outputs[index] = output
    return outputs, moments


class _DeformConvFunction(torch.autograd.Function):
    """Convolutions as one node of autograd's graph, which asks a back end for their gradients.

    It keeps what they read and nothing else: all the rest is cheap to compute again.
    """

    @staticmethod
    def forward(
        ctx: Any,
        backend: Backend,
        geometries: list[tuple[int | Pair, ...]],
        computed: list[Tensor],
        *tensors: Tensor | None,
    ) -> tuple[Tensor, ...]:
        # Gradients do not depend on the biases. Hooks on saved tensors may copy each of them, so
        # that what convolutions share is saved once.
        read = [tensor for index, tensor in enumerate(tensors) if index % 5 != 4]
        distinct = {id(tensor): tensor for tensor in read}
        numbers = {key: number for number, key in enumerate(distinct)}
        ctx.save_for_backward(*distinct.values())
        ctx.backend, ctx.geometries = backend, geometries
        ctx.numbers = [numbers[id(tensor)] for tensor in read]
        return tuple(computed)

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any, saved: Sequence[Tensor], grads: Sequence[Tensor]
    ) -> tuple[Tensor | None, ...]:
        needs = ctx.needs_input_grad[3:]
        read = [saved[number] for number in ctx.numbers]
        convolutions = [
            DeformConv._make([*read[4 * index : 4 * index + 4], None, *geometry])
            for index, geometry in enumerate(ctx.geometries)
        ]
        needed = [needs[start : start + 5] for start in range(0, len(needs), 5)]
        # Whoever calls backward() within autocast must get the precision of forward all the same.
        with torch.autocast(grads[0].device.type, enabled=False):
            found = ctx.backend.gradients(grads, convolutions, needed)
        return None, None, None, *itertools.chain(*found)


def _in_plain_layout(tensor: Tensor) -> Tensor:
    return tensor.clone(memory_format=torch.contiguous_format)
