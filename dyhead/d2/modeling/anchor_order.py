"""Predicted maps in the order of the anchors."""

from torch import Tensor


def permute_to_N_HWA_K(tensor: Tensor, K: int) -> Tensor:  # noqa: N802, N803 (the public name)
    """Bring a predicted map (N, A * K, H, W) into the order of the anchors, (N, H * W * A, K)."""
    per_anchor = tensor.unflatten(1, (-1, K))  # (N, A, K, H, W)
    return per_anchor.permute(0, 3, 4, 1, 2).flatten(1, 3)
