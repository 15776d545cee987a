"""Maps of one column, of which PyTorch computes wrong gradients in bfloat16."""

import torch.nn.functional as F
from torch import Tensor

from dyhead.ops.recording import is_exported


def widened(feature: Tensor) -> Tensor:
    """Add a column of zeros to (N, C, H, 1); wider maps are returned as they are.

    A 3x3 convolution of stride 2 and padding 1 gives the same values for both. But its weights'
    gradient for a map of one column is taken from memory that was never written, in bfloat16 on
    CPUs (found in PyTorch 2.14).
    """
    if is_exported() or feature.shape[3] > 1:
        return feature
    return F.pad(feature, (0, 1))
