"""Second derivatives, which there are none of, are refused and not left out of a sum."""

from collections.abc import Callable, Sequence

import pytest
import torch
from small_blocks import make_far_reaching_block, make_levels
from torch import Tensor

from dyhead.ops import modulated_deform_conv2d

REFUSAL = "have no second derivatives"


def convolution() -> tuple[Callable[..., Tensor], list[Tensor]]:
    shapes = (1, 2, 4, 5), (1, 18, 4, 5), (1, 9, 4, 5), (3, 2, 3, 3)
    generator = torch.Generator().manual_seed(0)
    tensors = [torch.rand(shape, generator=generator, dtype=torch.float64) for shape in shapes]
    return lambda *given: modulated_deform_conv2d(*given, padding=1).square().sum(), tensors


def block(**options: bool) -> tuple[Callable[..., Tensor], list[Tensor]]:
    built = make_far_reaching_block(**options)
    levels = make_levels([(4, 5), (2, 3)], batch=1)
    return lambda *given: sum(level.square().sum() for level in built(list(given))), levels


def first_gradients(function: Callable[..., Tensor], leaves: Sequence[Tensor]) -> Sequence[Tensor]:
    return torch.autograd.grad(function(*leaves), leaves, create_graph=True)


@pytest.mark.parametrize(
    "make",
    [
        convolution,
        block,
        lambda: block(fused=False),
        lambda: block(spatial_aware=False),
    ],
    ids=["convolution", "fused block", "plain block", "fused block without offsets"],
)
def test_second_derivatives_are_refused(
    make: Callable[[], tuple[Callable[..., Tensor], list[Tensor]]],
) -> None:
    function, tensors = make()
    leaves = [tensor.clone().requires_grad_() for tensor in tensors]
    norm = sum(grad.square().sum() for grad in first_gradients(function, leaves))
    with pytest.raises(RuntimeError, match=REFUSAL):
        torch.autograd.grad(norm, leaves)
    norm = sum(grad.square().sum() for grad in first_gradients(function, leaves))
    with pytest.raises(RuntimeError, match=REFUSAL):
        norm.backward()


def test_first_derivatives_with_a_graph_are_those_without() -> None:
    function, levels = block()
    leaves = [level.clone().requires_grad_() for level in levels]
    plain = torch.autograd.grad(function(*leaves), leaves)
    for one, other in zip(first_gradients(function, leaves), plain, strict=True):
        assert torch.equal(one, other)
