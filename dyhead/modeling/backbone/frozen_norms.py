"""Frozen batch norms of timm's models that the convolutions before them compute.

Computed by the convolution itself, a norm needs no passes over its map: one less backwards, two
less forwards. Names and values of the state dict stay, and weights are trained as they were.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from timm.layers import FrozenBatchNormAct2d
from torch import Tensor, nn
from torchvision.ops import FrozenBatchNorm2d

from dyhead.layers.frozen_norm import fold_norm
from dyhead.modeling.backbone.same_padding import SameConv2d


def fold_timm_norms(model: nn.Module, compute: Callable[[], Sequence[Tensor]]) -> int:
    """Let convolutions compute the frozen norms that nothing else stands before.

    Args:
        model: changed in place; modules keep their names, and get classes derived from theirs.
        compute: gives what the model makes of an example, with its autograd graph.

    Returns:
        the number of norms that are computed so.
    """
    norms = [module for module in model.modules() if type(module) in _APPLIED]
    convolutions = [module for module in model.modules() if type(module) in _SCALED]
    if not norms or not convolutions:
        return 0
    pairs = _find_pairs(convolutions, norms, compute)
    for convolution, norm in pairs:
        convolution.__class__ = _SCALED[type(convolution)]
        convolution.frozen_norm = (norm,)  # in a tuple: it stays the child of its own parent
        norm.__class__ = _APPLIED[type(norm)]
    return len(pairs)


def _find_pairs(
    convolutions: Iterable[Any], norms: Iterable[Any], compute: Callable[[], Sequence[Tensor]]
) -> list[tuple[Any, Any]]:
    """Find the convolutions whose output goes into a frozen norm and nowhere else.

    Modules of timm do not tell what follows them, as the host's convolutions do: a run shows it.
    """
    made: dict[Any, list[Any]] = {}
    taken: dict[Any, list[Any]] = {}
    hooks = [
        module.register_forward_hook(
            lambda module, _, output: made.setdefault(module, []).append(output.grad_fn)
        )
        for module in convolutions
    ]
    hooks += [
        module.register_forward_pre_hook(
            lambda module, inputs: taken.setdefault(module, []).append(inputs[0].grad_fn)
        )
        for module in norms
    ]
    try:
        uses = _count_uses(compute())
    finally:
        for hook in hooks:
            hook.remove()
    makers = {nodes[0]: module for module, nodes in made.items() if len(nodes) == 1 and nodes[0]}
    return [
        (makers[nodes[0]], norm)
        for norm, nodes in taken.items()
        if len(nodes) == 1 and nodes[0] in makers and uses.get(nodes[0]) == 1
    ]


def _count_uses(outputs: Sequence[Tensor]) -> dict[Any, int]:
    """Count how often each node of an autograd graph is used, as an output or by other nodes."""
    nodes = [output.grad_fn for output in outputs]
    uses: dict[Any, int] = {}
    while nodes:
        node = nodes.pop()
        if node is None:
            continue
        uses[node] = uses.get(node, 0) + 1
        if uses[node] == 1:
            nodes += [following for following, _ in node.next_functions]
    return uses


class _Scaled(nn.Conv2d):
    """A convolution that computes the frozen norm behind it, too."""

    frozen_norm: tuple[Any]

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 (as in PyTorch)
        (norm,) = self.frozen_norm
        return self._conv_forward(input, *fold_norm(self, norm))


class _ScaledSame(_Scaled, SameConv2d):
    """One that pads as TensorFlow does."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 (as in PyTorch)
        return super().forward(self.pad(input))


class _Applied(FrozenBatchNorm2d):
    """A frozen norm of torchvision that the convolution before it has computed."""

    def forward(self, x: Tensor) -> Tensor:
        return x


class _AppliedAct(FrozenBatchNormAct2d):
    """A frozen norm of timm of which only the activation is left to do."""

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.act(self.drop(x))
        return result


_SCALED: dict[type, Any] = {nn.Conv2d: _Scaled, SameConv2d: _ScaledSame}
_APPLIED: dict[type, Any] = {FrozenBatchNorm2d: _Applied, FrozenBatchNormAct2d: _AppliedAct}
