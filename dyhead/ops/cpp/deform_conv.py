"""The modulated deformable convolution by the C++ extension (`dyhead/ops/cpp`), on CPU.

Forward samples the columns of a few output positions into the processor's cache and multiplies them
with the kernel at once, for several convolutions in one parallel loop. Backward samples again and
computes all gradients in one pass, without atomic operations. Nothing but the inputs is kept in
between.
"""

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from dyhead.ops.packed_kernels import pack_once

Pair = tuple[int, int]
Size = tuple[int, int]

# torch.get_float32_matmul_precision() says how float32 operands enter the products of forward:
# bf16x3 splits each in two bfloat16 and adds three products: nearly float32, on a matrix unit.
PRECISIONS = {"highest": "float32", "high": "bf16x3", "medium": "bf16"}


def deform_conv_by_cpp(
    input: Tensor,
    offset: Tensor,
    mask: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: Pair,
    padding: Pair,
    dilation: Pair,
) -> Tensor:
    """Compute `modulated_deform_conv2d`: shapes checked, autocast off.

    Args:
        input, weight, bias: all float32 or all bfloat16; sums are float32.
        offset, mask: float32.

    Returns:
        (N, O, Y, X) in the input's dtype, channels_last.
    """
    call = (input, offset, mask, weight, bias, stride, padding, dilation)
    (output,) = foreach_deform_conv_by_cpp([call])
    return output


def foreach_deform_conv_by_cpp(calls: Sequence[tuple[Any, ...]]) -> list[Tensor]:
    """Compute `deform_conv_by_cpp` of every element, whose inputs have one type."""
    outputs, _ = _run(calls, None)
    return outputs


def foreach_deform_conv_with_moments_by_cpp(
    calls: Sequence[tuple[Any, ...]], level_sizes: Sequence[Size]
) -> tuple[list[Tensor], list[Tensor]]:
    """Compute `foreach_deform_conv_with_moments`: moments are taken while a tile is in the cache.

    Args:
        calls: arguments of `deform_conv_by_cpp`, whose inputs have one type.
        level_sizes: for each call.
    """
    return _run(calls, level_sizes)


def _run(
    calls: Sequence[tuple[Any, ...]], level_sizes: Sequence[Size] | None
) -> tuple[list[Tensor], list[Tensor]]:
    """The outputs; with levels' sizes, their moments."""
    precision = _precision(calls[0][0].dtype)
    geometries = [[*stride, *padding, *dilation] for *_, stride, padding, dilation in calls]
    inputs, offsets, masks, weights, biases = zip(*(call[:5] for call in calls), strict=True)
    with torch.no_grad():
        outputs, moments = torch.ops.dyhead.deform_conv_forward(
            _each_once(inputs, lambda x: x.contiguous(memory_format=torch.channels_last)),
            _each_once(offsets, torch.Tensor.contiguous),
            _each_once(masks, torch.Tensor.contiguous),
            weights,
            _each_once(weights, lambda weight: _packed(weight, precision)),
            biases,
            list(itertools.chain(*geometries)),
            precision,
            None if level_sizes is None else list(itertools.chain(*level_sizes)),
        )
    if torch.is_grad_enabled():
        outputs = [
            _Computed.apply(*call[:5], geometry, precision, [output])
            for call, geometry, output in zip(calls, geometries, outputs, strict=True)
        ]
    return outputs, moments


def _each_once(tensors: Sequence[Tensor], convert: Callable[[Tensor], Tensor]) -> list[Tensor]:
    """Convert all; what several convolutions share stays shared."""
    converted = {id(tensor): convert(tensor) for tensor in {id(t): t for t in tensors}.values()}
    return [converted[id(tensor)] for tensor in tensors]


def _packed(weight: Tensor, precision: str) -> Tensor:
    return pack_once(weight, precision, lambda w: torch.ops.dyhead.pack_kernel(w, precision))


def _precision(dtype: torch.dtype) -> str:
    if dtype == torch.bfloat16:
        return "bf16"
    try:
        return PRECISIONS[torch.get_float32_matmul_precision()]
    except RuntimeError:  # somebody used PyTorch's newer settings, which that function refuses
        return "float32"


class _Computed(torch.autograd.Function):
    """What autograd has to know of a convolution that has been computed; its output in a list."""

    @staticmethod
    def forward(
        ctx: Any,
        input: Tensor,
        offset: Tensor,
        mask: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        geometry: list[int],
        precision: str,
        computed: list[Tensor],
    ) -> Tensor:
        ctx.save_for_backward(input, offset, mask, weight)
        ctx.options = geometry, precision
        return computed.pop()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor | None, ...]:
        geometry, precision = ctx.options
        input, offset, mask, weight = ctx.saved_tensors
        needed = ctx.needs_input_grad[:5]
        gradients = _gradients(
            grad_output, input, offset, mask, weight, geometry, precision, needed
        )
        return *gradients, None, None, None


def gradients_by_cpp(
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
    geometry = [*stride, *padding, *dilation]
    precision = _precision(input.dtype)
    return _gradients(grad_output, input, offset, mask, weight, geometry, precision, needed)


def _gradients(
    grad_output: Tensor,
    input: Tensor,
    offset: Tensor,
    mask: Tensor,
    weight: Tensor,
    geometry: list[int],
    precision: str,
    needed: Sequence[bool],
) -> tuple[Tensor | None, ...]:
    need_input, need_offset, need_mask, need_weight, need_bias = needed
    gradients = torch.ops.dyhead.deform_conv_backward(
        grad_output,
        input,
        offset,
        mask,
        weight,
        geometry,
        precision,
        [need_input, need_offset or need_mask, need_weight],
    )
    grad_input, grad_offset, grad_mask, grad_weight = gradients
    return (
        grad_input if need_input else None,
        grad_offset if need_offset else None,
        grad_mask if need_mask else None,
        grad_weight if need_weight else None,
        grad_output.sum((0, 2, 3)) if need_bias else None,
    )
