"""Multiply-adds and activations of a module's operators, by one trace with fvcore's counter.

Counted are the operators that hold weights or multiply matrices: convolutions (deformable ones as
plain ones at their output size), linear layers, matrix products, and normalisations by fvcore's
estimate of 5 per element (2 for a batch normalisation with fixed statistics). That is the
convention under which the differences in the paper's Table 2 come out. Everything else that
computes (resizing, pooling, activation functions, arithmetic per element) is listed by name.
"""

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from fvcore.nn.jit_analysis import JitModelAnalysis
from fvcore.nn.jit_handles import (
    addmm_flop_jit,
    batchnorm_flop_jit,
    bmm_flop_jit,
    conv_flop_jit,
    einsum_flop_jit,
    get_shape,
    linear_flop_jit,
    matmul_flop_jit,
    norm_flop_counter,
)
from torch import Tensor, nn

Handle = Callable[[list[Any], list[Any]], Any]  # a traced operator's inputs and outputs


def _counted_as_plain(weight: int) -> Handle:
    """Count a deformable convolution as a plain one: sampling costs nothing.

    Args:
        weight: which input it is, (O, C, height, width).
    """

    def multiply_adds(inputs: list[Any], outputs: list[Any]) -> int:
        batch, _, height, width = get_shape(outputs[0])
        return math.prod(get_shape(inputs[weight])) * batch * height * width

    return multiply_adds


def attention_multiply_adds(inputs: list[Any], outputs: list[Any]) -> int:
    """Count both products of `aten::scaled_dot_product_attention`.

    Args:
        inputs: query (..., M, D), key (..., P, D), value (..., P, E).
        outputs: not looked at.
    """
    query, key, value = (get_shape(tensor) for tensor in inputs[:3])
    return math.prod(query[:-1]) * key[-2] * (key[-1] + value[-1])


PRODUCTS: dict[str, Handle] = {
    "aten::_convolution": conv_flop_jit,
    "dyhead::modulated_deform_conv2d": _counted_as_plain(weight=3),
    "torchvision::deform_conv2d": _counted_as_plain(weight=1),
    "aten::linear": linear_flop_jit,
    "aten::addmm": addmm_flop_jit,
    "aten::mm": matmul_flop_jit,
    "aten::bmm": bmm_flop_jit,
    "aten::matmul": matmul_flop_jit,
    "aten::einsum": einsum_flop_jit,
    "aten::scaled_dot_product_attention": attention_multiply_adds,
}
NORMALISATIONS: dict[str, Handle] = {
    "aten::batch_norm": batchnorm_flop_jit,
    "aten::group_norm": norm_flop_counter(2),
    "aten::layer_norm": norm_flop_counter(2),
    "aten::instance_norm": norm_flop_counter(1),
}
# fvcore keeps quiet about these, although they do compute something.
_SILENT = ("aten::relu", "aten::relu_", "aten::clamp", "aten::clamp_", "aten::max")

_MULTIPLY_ADDS, _ACTIVATIONS, _UNCOUNTED = "multiply-adds", "activations", "uncounted"


@dataclass(frozen=True)
class OperatorCounts:
    """The counts of one forward pass; keys are names of submodules, "" is the whole module."""

    multiply_adds: dict[str, int]
    activations: dict[str, int]  # elements that products (not normalisations) give out
    by_operator: dict[str, int]  # multiply-adds of the whole module
    uncounted: dict[str, int]  # calls of the operators in no multiply-add, most calls first


def count_operators(module: nn.Module, inputs: tuple[Tensor, ...]) -> OperatorCounts:
    """Run `module` once on `inputs`, in evaluation mode, and count.

    Operators belong to the submodule whose forward runs them, and to those that contain it.
    """
    counter = JitModelAnalysis(module.eval(), inputs)
    counter.unsupported_ops_warnings(False).uncalled_modules_warnings(False)
    for name, handle in PRODUCTS.items():
        counter.set_op_handle(name, _counting(name, handle, gives_activations=True))
    for name, handle in NORMALISATIONS.items():
        counter.set_op_handle(name, _counting(name, handle, gives_activations=False))
    for name in _SILENT:
        counter.set_op_handle(name, _listing(name))
    with torch.no_grad():
        counts = counter.by_module_and_operator()
    unsupported = {_short(name): calls for name, calls in counter.unsupported_ops().items()}
    uncounted = _of_kind(counts[""], _UNCOUNTED) | unsupported
    return OperatorCounts(
        multiply_adds={name: _sum(ops, _MULTIPLY_ADDS) for name, ops in counts.items()},
        activations={name: _sum(ops, _ACTIVATIONS) for name, ops in counts.items()},
        by_operator=_of_kind(counts[""], _MULTIPLY_ADDS),
        uncounted=dict(sorted(uncounted.items(), key=lambda item: -item[1])),
    )


def _counting(name: str, multiply_adds: Handle, gives_activations: bool) -> Handle:
    def handle(inputs: list[Any], outputs: list[Any]) -> Counter[tuple[str, str]]:
        number = multiply_adds(inputs, outputs)
        number = sum(number.values()) if isinstance(number, Counter) else number
        counts = Counter({(_MULTIPLY_ADDS, _short(name)): int(number)})
        if gives_activations:
            counts[_ACTIVATIONS, _short(name)] = math.prod(get_shape(outputs[0]))
        return counts

    return handle


def _listing(name: str) -> Handle:
    return lambda inputs, outputs: Counter({(_UNCOUNTED, _short(name)): 1})


def _short(name: str) -> str:
    """Shorten an operator's name: `aten::_convolution` becomes `convolution`."""
    return name.rpartition("::")[2].lstrip("_")


def _sum(counts: Counter[Any], kind: str) -> int:
    return sum(_of_kind(counts, kind).values())


def _of_kind(counts: Counter[Any], kind: str) -> dict[str, int]:
    return {name: number for (found, name), number in counts.items() if found == kind}
