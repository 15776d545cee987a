"""The deformable convolution as one operator of PyTorch, for whatever records operators.

A compiler, torch.export or torch.jit.trace cannot look into back ends that are written in C++ or
Triton or that size their work by their data. It need not: to it the operator
`dyhead::modulated_deform_conv2d` is one node with a known result and a known gradient. Inside, the
back end is chosen when the node runs.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from dyhead.ops.backends import choose_backend, gradients, implementation

_TENSORS = "Tensor input, Tensor offset, Tensor mask, Tensor weight, Tensor? bias"
_OPTIONS = "int[] stride, int[] padding, int[] dilation, str backend"

Gradients = tuple[Tensor, Tensor, Tensor, Tensor, Tensor]


@torch.library.custom_op(
    "dyhead::modulated_deform_conv2d", mutates_args=(), schema=f"({_TENSORS}, {_OPTIONS}) -> Tensor"
)
def deform_conv_as_operator(
    input: Tensor,
    offset: Tensor,
    mask: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    backend: str,
) -> Tensor:
    """Run a back end on what a back end takes; "" chooses it as `choose_backend` does.

    Returns:
        (N, O, Y, X), laid out as channels_last whatever the back end.
    """
    function = implementation(choose_backend(input.device, backend, input.dtype))
    with torch.autocast(input.device.type, enabled=False):
        (output,) = function(
            [(input, offset, mask, weight, bias, tuple(stride), tuple(padding), tuple(dilation))]
        )
    return _laid_out(output, _describe_output(input, offset, weight))


@deform_conv_as_operator.register_fake
def _(
    input: Tensor,
    offset: Tensor,
    mask: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    *options: Any,
) -> Tensor:
    return _describe_output(input, offset, weight)


@torch.library.custom_op(
    "dyhead::modulated_deform_conv2d_backward",
    mutates_args=(),
    schema=f"(Tensor grad_output, {_TENSORS}, {_OPTIONS}, bool[] needed)"
    " -> (Tensor, Tensor, Tensor, Tensor, Tensor)",
)
def gradients_as_operator(
    grad_output: Tensor,
    input: Tensor,
    offset: Tensor,
    mask: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    backend: str,
    needed: Sequence[bool],
) -> Gradients:
    """Gradients of all tensors, each laid out as its tensor; an empty one where not `needed`."""
    name = choose_backend(input.device, backend, input.dtype)
    geometry = tuple(stride), tuple(padding), tuple(dilation)
    with torch.autocast(input.device.type, enabled=False):
        found = gradients(name)(grad_output, input, offset, mask, weight, *geometry, needed)
    described = _describe_gradients((input, offset, mask, weight, bias), needed)
    pairs = zip(found, described, strict=True)
    return tuple(like if grad is None else _laid_out(grad, like) for grad, like in pairs)  # type: ignore[return-value]


@gradients_as_operator.register_fake
def _(
    grad_output: Tensor,
    input: Tensor,
    offset: Tensor,
    mask: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    backend: str,
    needed: Sequence[bool],
) -> Gradients:
    return _describe_gradients((input, offset, mask, weight, bias), needed)


def _describe_output(input: Tensor, offset: Tensor, weight: Tensor) -> Tensor:
    """An output without values."""
    return torch.empty(
        (offset.shape[0], weight.shape[0], *offset.shape[2:]),
        dtype=input.dtype,
        device=input.device,
        memory_format=torch.channels_last,
    )


def _describe_gradients(tensors: Sequence[Tensor | None], needed: Sequence[bool]) -> Gradients:
    """Gradients without values."""
    first = tensors[0]
    assert first is not None
    return tuple(  # type: ignore[return-value]
        torch.empty_like(tensor) if is_needed and tensor is not None else first.new_empty(0)
        for tensor, is_needed in zip(tensors, needed, strict=True)
    )


def _laid_out(tensor: Tensor, like: Tensor) -> Tensor:
    """The values of `tensor` with the strides of `like`: a compiler relies on them."""
    return tensor if tensor.stride() == like.stride() else like.copy_(tensor)


def _remember(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs[:5])
    ctx.options = inputs[5:]


def _backward(ctx: Any, grad_output: Tensor) -> tuple[Any, ...]:
    needed = list(ctx.needs_input_grad[:5])
    found = gradients_as_operator(grad_output, *ctx.saved_tensors, *ctx.options, needed)
    grads = (grad if is_needed else None for grad, is_needed in zip(found, needed, strict=True))
    return *grads, None, None, None, None


deform_conv_as_operator.register_autograd(_backward, setup_context=_remember)
