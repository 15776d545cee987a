"""The passes of `branch_mix` in C++, on CPU: `cpp/branch_mix.cpp`.

float32 and bfloat16 maps; `branch_mix` says what each function computes.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from dyhead.ops.cpp import extension

Size = tuple[int, int]

DTYPES = (torch.float32, torch.bfloat16)


def serves() -> bool:
    """Whether the extension is there."""
    return extension.load()


def channel_moments(image: Tensor, size: Size) -> Tensor:
    """See `branch_mix.channel_moments`."""
    return torch.ops.dyhead.channel_moments(image, size)


def mix_forward(
    branches: Sequence[Tensor],
    scales: Tensor,
    lines: Tensor,
    size: Size,
    out: Tensor | None = None,
) -> Tensor:
    """See `branch_mix.mix_forward`."""
    return torch.ops.dyhead.mix_forward(list(branches), scales, lines, size, out)


def mix_reductions(
    grad_output: Tensor, branches: Sequence[Tensor], scales: Tensor, lines: Tensor
) -> tuple[Tensor, Tensor]:
    """See `branch_mix.mix_reductions`."""
    return torch.ops.dyhead.mix_reductions(grad_output, list(branches), scales, lines)


def mix_backward(
    grad_output: Tensor,
    branches: Sequence[Tensor],
    scales: Tensor,
    lines: Tensor,
    moments: Tensor,
) -> list[Tensor]:
    """See `branch_mix.mix_backward`."""
    return torch.ops.dyhead.mix_backward(grad_output, list(branches), scales, lines, moments)
