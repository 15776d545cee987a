"""The modulated deformable convolution by the C++ extension, on CPU.

Forward samples the columns of a few output positions into the processor's cache and multiplies them
with the kernel at once, for several convolutions in one parallel loop. Backward samples again and
computes all gradients in one pass, without atomic operations. Nothing but the inputs is kept in
between.
"""

import functools
import itertools
import os
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from dyhead.ops.backends import (
    Backend,
    DeformConv,
    Gradients,
    Outputs,
    PackedKernels,
    Pair,
    pack_once,
)
from dyhead.ops.cpp import extension

# torch.get_float32_matmul_precision() says how float32 operands enter the products of forward
# (backward has bfloat16 for "medium", else float32). bf16x3 splits each in two bfloat16 and adds
# three products: nearly float32, on a matrix unit.
PRECISIONS = {"highest": "float32", "high": "bf16x3", "medium": "bf16"}

_as_channels_last = functools.partial(torch.Tensor.contiguous, memory_format=torch.channels_last)


class CppBackend(Backend):
    """The C++ extension; its outputs are channels_last, its sums float32."""

    name = "cpp"
    dtypes = (torch.float32, torch.bfloat16)
    chosen_on = ("cpu",)

    def why_not(self, device: torch.device) -> str:
        """Say why the extension cannot serve a device; builds it if need be."""
        if device.type != "cpu":
            return f"the extension computes on the CPU, not on {device.type}"
        if os.environ.get("DYHEAD_CPP") == "0":
            return "the environment variable DYHEAD_CPP=0 turns the extension off"
        if not extension.load():
            return "the extension cannot be built here; it needs a C++ compiler (see the log)"
        return ""

    def forward(self, convolutions: Sequence[DeformConv], packed: PackedKernels) -> list[Tensor]:
        """Compute all outputs in one parallel loop."""
        outputs, _ = _forward(convolutions, None, packed)
        return outputs

    def forward_with_moments(
        self, convolutions: Sequence[DeformConv], level_sizes: Sequence[Pair], packed: PackedKernels
    ) -> Outputs:
        """Compute outputs and their moments, which are taken while a tile is in the cache."""
        return _forward(convolutions, level_sizes, packed)

    def gradients(
        self,
        grads: Sequence[Tensor],
        convolutions: Sequence[DeformConv],
        needed: Sequence[Sequence[bool]],
    ) -> list[Gradients]:
        """Compute the gradients one by one."""
        return list(map(_gradients, grads, convolutions, needed))


def _forward(
    convolutions: Sequence[DeformConv], level_sizes: Sequence[Pair] | None, packed: PackedKernels
) -> tuple[list[Tensor], list[Tensor]]:
    """Compute the outputs and, with levels' sizes, their moments."""
    inputs, offsets, masks, weights, biases, *geometry = zip(*convolutions, strict=True)
    precision = _precision(inputs[0].dtype)
    return torch.ops.dyhead.deform_conv_forward(
        _each_once(inputs, _as_channels_last),
        _each_once(offsets, torch.Tensor.contiguous),
        _each_once(masks, torch.Tensor.contiguous),
        weights,
        pack_once(packed, weights, precision, torch.ops.dyhead.pack_kernel),
        biases,
        list(itertools.chain(*itertools.chain(*zip(*geometry, strict=True)))),
        precision,
        None if level_sizes is None else list(itertools.chain(*level_sizes)),
    )


def _gradients(grad_output: Tensor, convolution: DeformConv, needed: Sequence[bool]) -> Gradients:
    need_input, need_offset, need_mask, need_weight, need_bias = needed
    input, offset, mask, weight, *_ = convolution
    grad_input, grad_offset, grad_mask, grad_weight = torch.ops.dyhead.deform_conv_backward(
        grad_output,
        input,
        offset,
        mask,
        weight,
        list(itertools.chain(*convolution.pairs())),
        _precision(input.dtype),
        [need_input, need_offset or need_mask, need_weight],
    )
    return (
        grad_input if need_input else None,
        grad_offset if need_offset else None,
        grad_mask if need_mask else None,
        grad_weight if need_weight else None,
        grad_output.sum((0, 2, 3)) if need_bias else None,
    )


def _each_once(tensors: Sequence[Tensor], convert: Callable[[Tensor], Tensor]) -> list[Tensor]:
    """Convert all; what several convolutions share stays shared."""
    converted = {id(tensor): convert(tensor) for tensor in {id(t): t for t in tensors}.values()}
    return [converted[id(tensor)] for tensor in tensors]


def _precision(dtype: torch.dtype) -> str:
    """Name the type of the operands of matrix products."""
    if dtype == torch.bfloat16:
        return "bf16"
    try:
        return PRECISIONS[torch.get_float32_matmul_precision()]
    except RuntimeError:  # somebody used PyTorch's newer settings, which that function refuses
        return "float32"
