"""What a fused DyHead block does to whole maps: per-channel moments, and one pass that mixes them.

Between these passes everything is per image and channel, and small: `layers.fused_attention`. Every
pass reads its maps once and keeps nothing of their size besides its result. Per level,

    z = sum_b scale_b * up_b(y_b) + shift
    output = max(slope1 * z + offset1, slope2 * z + offset2)

Shape letters: L levels, B branches, N images, C channels, H x W a level's grid, h x w a map's own
grid. `up_b` is bilinear interpolation with aligned corners from h x w to H x W, and nothing where
both are the same. Maps y_b are (N, h, w, C), contiguous, each of its level's size or smaller, all
of one data type: float32, float64, bfloat16 or float16. They come as L lists of B; a map that a
level does not have is None, at the beginning or at the end of its list. Coefficients, moments and
sums are float32, float64 for float64 maps; they are contiguous, and all arithmetic is done in their
type. Nothing here is recorded by autograd.

Coefficients:
    scales: (L, B, N, C); what belongs to a missing map is not read.
    lines: (L, 5, N, C): shift, slope1, offset1, slope2, offset2.

The four functions of this module choose an implementation: `torch_branch_mix` everywhere,
`cpp_branch_mix` on CPU where the extension is there, both level by level; `triton_branch_mix`, for
all levels at once, on CUDA where its `serves(device)` says so.
"""

import functools
import importlib
import importlib.util
from collections.abc import Iterable, Sequence
from typing import Any

from torch import Tensor

from dyhead.ops.branch_mix_by_level import ByLevel, Maps
from dyhead.ops.cpp import branch_mix as cpp_branch_mix
from dyhead.ops.pytorch import branch_mix as torch_branch_mix

Size = tuple[int, int]

_BY_TORCH, _BY_CPP = ByLevel(torch_branch_mix), ByLevel(cpp_branch_mix)


def channel_moments(maps: Maps, sizes: Sequence[Size]) -> Tensor:
    """Measure every channel of every image of every map.

    Args:
        maps: L lists of B.
        sizes: H, W of every level, to which smaller maps will be upsampled.

    Returns:
        (L, B, 3, N, C): mean, variance (the mean squared distance from the mean, accurate also
        where the mean is much larger than the deviation), and mean after upsampling, which weights
        the positions unevenly; zeros where there is no map.
    """
    return _implementation(_present(maps)).channel_moments(maps, sizes)


def mix_forward(
    maps: Maps,
    scales: Tensor,
    lines: Tensor,
    sizes: Sequence[Size],
    overwrite: bool = False,
) -> list[Tensor]:
    """Compute the outputs.

    Args:
        maps: L lists of B.
        scales, lines: the coefficients.
        sizes: H, W of every level.
        overwrite: outputs may take the place of maps, which are then lost; that saves memory.

    Returns:
        (N, H, W, C) of every level, of the maps' type, contiguous.
    """
    return _implementation(_present(maps)).mix_forward(maps, scales, lines, sizes, overwrite)


def mix_reductions(
    grads: Sequence[Tensor], maps: Maps, scales: Tensor, lines: Tensor
) -> tuple[Tensor, Tensor]:
    """Compute the gradients of the coefficients: sums over positions.

    With g the gradient of the output, g1 = g where the first line is larger, g / 2 where both are
    equal, 0 elsewhere; g2 = g - g1; and dz = slope1 * g1 + slope2 * g2:
        scale_b: sum of dz * up_b(y_b); shift: sum of dz;
        slope1: sum of g1 * z; offset1: sum of g1; slope2 and offset2 likewise with g2.

    Args:
        grads: of the outputs, (N, H, W, C) of the maps' type, contiguous.
        maps, scales, lines: as for `mix_forward`.

    Returns:
        The gradients of scales (L, B, N, C), zero where there is no map, and of lines
        (L, 5, N, C).
    """
    chosen = _implementation((*grads, *_present(maps)))
    return chosen.mix_reductions(grads, maps, scales, lines)


def mix_backward(
    grads: Sequence[Tensor], maps: Maps, scales: Tensor, lines: Tensor, moments: Tensor
) -> list[list[Tensor | None]]:
    """Compute the gradients of the maps, those through their moments included.

    With dz as in `mix_reductions`, and up_b^T the transpose of the upsampling:
        gradient of y_b = up_b^T(scale_b * dz + pooled_b) + constant_b + slope_b * y_b.

    Args:
        grads, maps, scales, lines: as for `mix_reductions`.
        moments: (3, L, B, N, C): pooled, constant, slope: what one position gets from the gradients
            of the three moments.

    Returns:
        L lists of B, each gradient of its map's shape and type, contiguous; None for None.
    """
    chosen = _implementation((*grads, *_present(maps)))
    return chosen.mix_backward(grads, maps, scales, lines, moments)


def _present(maps: Maps) -> list[Tensor]:
    return [image for level in maps for image in level if image is not None]


def _implementation(images: Iterable[Tensor]) -> Any:
    """What serves these images: an object with the functions of this module."""
    images = list(images)
    device, dtype = images[0].device, images[0].dtype
    if any(type(image) is not Tensor for image in images):
        # Tensors without data, as in tracing, are of a subclass: only PyTorch's operators know it.
        return _BY_TORCH
    if device.type == "cuda" and (triton := _triton_module()) and triton.serves(device):
        return triton
    if device.type == "cpu" and dtype in cpp_branch_mix.DTYPES and cpp_branch_mix.serves():
        return _BY_CPP
    return _BY_TORCH


@functools.cache
def _triton_module() -> Any:
    """The module of Triton kernels, None where Triton is not installed."""
    if importlib.util.find_spec("triton") is None:
        return None
    return importlib.import_module("dyhead.ops.triton.branch_mix")
