"""The hard-sigmoid of the official code."""

import torch.nn.functional as F
from torch import Tensor


def hard_sigmoid(x: Tensor) -> Tensor:
    """Compute relu6(x + 3) / 6, in [0, 1].

    Not `F.hardsigmoid`: on CPU that one rounds 1/6 to float32 even for float64 tensors.
    """
    return F.relu6(x + 3) / 6
