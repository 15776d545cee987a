"""The operators as compilers, exporters and tracers record them: each is one node of a graph.

A compiler, torch.export or torch.jit.trace cannot look into back ends that are written in C++ or
Triton or that size their work by their data. They need not: to them
`dyhead::modulated_deform_conv2d` is a node with a known result and a known gradient, inside which
the back end is chosen when the node runs.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from dyhead.ops.backends import BACKENDS, DeformConv, choose_backend

_PLAIN = (Tensor, nn.Parameter)
_TENSORS = "Tensor input, Tensor offset, Tensor mask, Tensor weight, Tensor? bias"
_OPTIONS = "int[] stride, int[] padding, int[] dilation, str backend"

RecordedGradients = tuple[Tensor, Tensor, Tensor, Tensor, Tensor]


def is_recorded(*tensors: Tensor) -> bool:
    """Tell if a convolution has to be one operator that others know, instead of its kernels.

    So it is under torch.compile and torch.export, under torch.jit.trace, and for tensors without
    data (FakeTensor) or of any other subclass, which kernels cannot read.

    Raises:
        RuntimeError: the legacy ONNX exporter records, which cannot translate the operator.
    """
    if torch.jit.is_tracing():
        _refuse_legacy_exporter()
        return True
    return torch.compiler.is_compiling() or any(type(tensor) not in _PLAIN for tensor in tensors)


def _refuse_legacy_exporter() -> None:
    """Stop the exporter that traces: it would write sizes down as constants."""
    if torch.onnx.is_in_onnx_export():
        raise RuntimeError(
            "The legacy ONNX exporter cannot export a deformable convolution: use `dyhead export`,"
            " or torch.onnx.export(..., dynamo=True, custom_translation_table="
            "dyhead.export.translation_table())."
        )


def is_exported() -> bool:
    """Tell if torch.export records, for which no step may depend on a size or a memory layout."""
    exporting = getattr(torch.compiler, "is_exporting", None)  # since PyTorch 2.7
    return exporting() if exporting is not None else torch.compiler._is_compiling_flag


def is_trained_eagerly(tensor: Tensor) -> bool:
    """Tell if autograd follows what is computed of a tensor, and no compiler or tracer does."""
    is_seen = torch.compiler.is_compiling() or torch.jit.is_tracing()
    return torch.is_grad_enabled() and tensor.requires_grad and not is_seen


def is_same_size(one: Sequence[int], other: Sequence[int]) -> bool:
    """Tell if two sizes are equal; to torch.export, if they are so for images of any size.

    A comparison that some images answer otherwise would bind its graph to the others.
    """
    if not is_exported():
        return tuple(one) == tuple(other)
    from torch.fx.experimental.symbolic_shapes import statically_known_true  # slow to import

    return all(statically_known_true(a == b) for a, b in zip(one, other, strict=True))


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
    chosen = BACKENDS[choose_backend(input.device, backend, input.dtype)]
    geometry = _pair(stride), _pair(padding), _pair(dilation)
    with torch.autocast(input.device.type, enabled=False):
        (output,) = chosen.forward([DeformConv(input, offset, mask, weight, bias, *geometry)], {})
    return _laid_out(output, _empty_output(input, offset, weight))


@deform_conv_as_operator.register_fake
def _(
    input: Tensor,
    offset: Tensor,
    mask: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    *options: Any,
) -> Tensor:
    return _empty_output(input, offset, weight)


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
) -> RecordedGradients:
    """Compute gradients, each laid out as its tensor; an empty one where not `needed`."""
    chosen = BACKENDS[choose_backend(input.device, backend, input.dtype)]
    geometry = _pair(stride), _pair(padding), _pair(dilation)
    convolution = DeformConv(input, offset, mask, weight, None, *geometry)
    with torch.autocast(input.device.type, enabled=False):
        (found,) = chosen.gradients([grad_output], [convolution], [needed])
    empty = _empty_gradients((input, offset, mask, weight, bias), needed)
    pairs = zip(found, empty, strict=True)
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
) -> RecordedGradients:
    return _empty_gradients((input, offset, mask, weight, bias), needed)


def _pair(values: Sequence[int]) -> tuple[int, int]:
    return values[0], values[1]


def _empty_output(input: Tensor, offset: Tensor, weight: Tensor) -> Tensor:
    """Make an output without values."""
    return torch.empty(
        (offset.shape[0], weight.shape[0], *offset.shape[2:]),
        dtype=input.dtype,
        device=input.device,
        memory_format=torch.channels_last,
    )


def _empty_gradients(tensors: Sequence[Tensor | None], needed: Sequence[bool]) -> RecordedGradients:
    """Make gradients without values."""
    first = tensors[0]
    assert first is not None
    return tuple(  # type: ignore[return-value]
        torch.empty_like(tensor) if is_needed and tensor is not None else first.new_empty(0)
        for tensor, is_needed in zip(tensors, needed, strict=True)
    )


def _laid_out(tensor: Tensor, like: Tensor) -> Tensor:
    """Bring `tensor` to the strides of `like`, on which a compiler relies."""
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
