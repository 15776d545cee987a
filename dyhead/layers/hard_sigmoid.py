"""The hard-sigmoids of the official code and of the paper."""

from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor


def official_hard_sigmoid(x: Tensor) -> Tensor:
    """Compute relu6(x + 3) / 6, in [0, 1].

    Not `F.hardsigmoid`: on CPU that one rounds 1/6 to float32 even for float64 tensors.
    """
    return F.relu6(x + 3) / 6


def paper_hard_sigmoid(x: Tensor) -> Tensor:
    """Compute max(0, min(1, (x + 1) / 2)) (Dai et al., CVPR 2021, equation 3)."""
    return ((x + 1) / 2).clamp(0, 1)


HARD_SIGMOIDS: dict[str, Callable[[Tensor], Tensor]] = {
    "official": official_hard_sigmoid,
    "paper": paper_hard_sigmoid,
}
