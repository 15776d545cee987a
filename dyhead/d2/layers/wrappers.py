"""Thin additions to PyTorch's own functions and modules."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def cat(tensors: Sequence[Tensor], dim: int = 0) -> Tensor:
    """Concatenate along `dim`; a single tensor is returned as it is, without a copy."""
    return tensors[0] if len(tensors) == 1 else torch.cat(list(tensors), dim)


def nonzero_tuple(x: Tensor) -> tuple[Tensor, ...]:
    """Index tensors of the non-zero elements of `x`, one per dimension (a scalar counts as 1-D)."""
    return torch.atleast_1d(x).nonzero(as_tuple=True)


def cross_entropy(
    input: Tensor, target: Tensor, *, reduction: str = "mean", **kwargs: Any
) -> Tensor:
    """`F.cross_entropy`, but the mean over no target is 0, still connected to `input`."""
    if target.numel() == 0 and reduction == "mean":
        return input.sum() * 0.0
    return F.cross_entropy(input, target, reduction=reduction, **kwargs)


class Conv2d(nn.Conv2d):
    """`nn.Conv2d` followed by an optional normalization and an optional activation."""

    def __init__(
        self,
        *args: Any,
        norm: nn.Module | None = None,
        activation: Callable[[Tensor], Tensor] | None = None,
        **kwargs: Any,
    ) -> None:
        """Take `nn.Conv2d`'s arguments and what is applied to its output, `norm` first."""
        super().__init__(*args, **kwargs)
        self.norm = norm
        self.activation = activation

    def forward(self, input: Tensor) -> Tensor:
        """Map (N, C_in, H, W), where N may be 0, to (N, C_out, H_out, W_out)."""
        output = super().forward(input)
        if self.norm is not None:
            output = self.norm(output)
        if self.activation is not None:
            output = self.activation(output)
        return output
