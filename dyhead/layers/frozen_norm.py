"""A convolution and the frozen norm behind it as one convolution."""

from typing import Any

from torch import Tensor, nn


def fold_norm(convolution: nn.Conv2d, norm: Any) -> tuple[Tensor, Tensor]:
    """Return the weight and bias of a convolution that computes the frozen norm behind it, too.

    A frozen norm multiplies every channel by a constant and adds another, as the weight and bias
    of a convolution can.

    Args:
        convolution: from C to K channels; its bias may be None.
        norm: over K channels, of Detectron2, timm or torchvision: with `weight`, `bias`,
            `running_mean`, `running_var` and `eps`.

    Returns:
        weight (K, C / groups, kernel height, kernel width) and bias (K,), differentiable by the
        convolution's own.
    """
    scale = norm.weight * (norm.running_var + norm.eps).rsqrt()
    shift = norm.bias - norm.running_mean * scale
    bias = shift if convolution.bias is None else convolution.bias * scale + shift
    return convolution.weight * scale.view(-1, 1, 1, 1), bias
