"""Deformable convolution with groups of channels and of offsets, modulated or not.

Dai et al., ICCV 2017 (arXiv:1703.06211) and Zhu et al., CVPR 2019 (arXiv:1811.11168).
"""

import torch
from torch import Tensor
from torchvision.ops import deform_conv2d

from dyhead.ops.deform_conv import Pair, modulated_deform_conv2d


def grouped_deform_conv2d(
    input: Tensor,
    offset: Tensor,
    mask: Tensor | None,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: int | Pair = 1,
    padding: int | Pair = 0,
    dilation: int | Pair = 1,
) -> Tensor:
    """Convolve with taps that are moved, and weighted, separately at every output position.

    One group goes through `modulated_deform_conv2d`, several through torchvision, in float32 or
    better: coordinates need it, also under autocast.

    Shape letters: N batch, C input channels, O output channels, H x W input size, Y x X output
    size, K taps, D groups of offsets.

    Args:
        input: (N, C, H, W).
        offset: (N, 2 K D, Y, X), interleaved (dy, dx) in pixels of `input`, group by group; each
            group of offsets serves its share of the input's channels.
        mask: (N, K D, Y, X), the weight of each tap; None for 1.
        weight: (O, C / groups, kernel height, kernel width).
        bias: (O,) or None.
        stride, padding, dilation: one int, or (vertical, horizontal).

    Returns:
        (N, O, Y, X).
    """
    taps = weight.shape[2] * weight.shape[3]
    geometry = (stride, padding, dilation)
    if weight.shape[1] == input.shape[1] and offset.shape[1] == 2 * taps:
        if mask is None:
            mask = offset.new_ones(len(offset), taps, *offset.shape[2:])
        return modulated_deform_conv2d(input, offset, mask, weight, bias, *geometry)
    dtype = torch.promote_types(input.dtype, torch.float32)
    as_wide = [None if t is None else t.to(dtype) for t in (input, offset, weight, bias, mask)]
    wide_input, wide_offset, wide_weight, wide_bias, wide_mask = as_wide
    with torch.autocast(input.device.type, enabled=False):
        output = deform_conv2d(
            wide_input, wide_offset, wide_weight, wide_bias, *geometry, mask=wide_mask
        )
    return output.to(input.dtype)
