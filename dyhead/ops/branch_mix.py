"""What a fused DyHead block does to whole maps: per-channel moments, and one pass that mixes them.

Between these passes everything is per image and channel, and small: `layers.fused_attention`. Every
pass reads its maps once and keeps nothing of their size besides its result.

    z = sum_b scale_b * up_b(y_b) + shift
    output = max(slope1 * z + offset1, slope2 * z + offset2)

Shape letters: N images, C channels, H x W the level's grid, h x w a branch's own grid, B branches.
`up_b` is bilinear interpolation with aligned corners from h x w to H x W, and nothing where both
are the same. Maps are (N, height, width, C), contiguous, all of one data type: float32, float64,
bfloat16 or float16. Coefficients, moments and sums are float32, float64 for float64 maps; they are
contiguous, and all arithmetic is done in their type. Nothing here is recorded by autograd.

Coefficients:
    scales: (B, N, C), one row per branch.
    lines: (5, N, C): shift, slope1, offset1, slope2, offset2.

The four functions of this module choose an implementation, each a module with the same four
functions: `torch_branch_mix` everywhere, `cpp_branch_mix` on CPU where the extension is there,
`triton_branch_mix` on CUDA where its `serves(device)` says so.
"""

import functools
import importlib
import importlib.util
from collections.abc import Sequence
from typing import Any

from torch import Tensor

from dyhead.ops import cpp_branch_mix, torch_branch_mix

Size = tuple[int, int]


def channel_moments(image: Tensor, size: Size) -> Tensor:
    """Measure every channel of every image.

    Args:
        image: (N, h, w, C).
        size: H, W, to which the image will be upsampled; its own size if it will not.

    Returns:
        (3, N, C): mean, variance (the mean squared distance from the mean, accurate also where
        the mean is much larger than the deviation), and mean after upsampling to `size`, which
        weights the positions unevenly.
    """
    return _implementation(image).channel_moments(image, size)


def mix_forward(
    branches: Sequence[Tensor],
    scales: Tensor,
    lines: Tensor,
    size: Size,
    out: Tensor | None = None,
) -> Tensor:
    """Compute the output.

    Args:
        branches: B maps (N, h_b, w_b, C), each of the level's size or smaller.
        scales, lines: the coefficients.
        size: H, W.
        out: (N, H, W, C) to write to; may be a branch of the level's size, which is then lost.

    Returns:
        (N, H, W, C) of the branches' type.
    """
    return _implementation(*branches).mix_forward(branches, scales, lines, size, out)


def mix_reductions(
    grad_output: Tensor, branches: Sequence[Tensor], scales: Tensor, lines: Tensor
) -> tuple[Tensor, Tensor]:
    """Compute the gradients of the coefficients: sums over positions.

    With g the gradient of the output, g1 = g where the first line is larger, g / 2 where both are
    equal, 0 elsewhere; g2 = g - g1; and dz = slope1 * g1 + slope2 * g2:
        scale_b: sum of dz * up_b(y_b); shift: sum of dz;
        slope1: sum of g1 * z; offset1: sum of g1; slope2 and offset2 likewise with g2.

    Args:
        grad_output: (N, H, W, C) of the branches' type, contiguous.
        branches, scales, lines: as for `mix_forward`.

    Returns:
        The gradients of scales (B, N, C) and of lines (5, N, C).
    """
    return _implementation(grad_output, *branches).mix_reductions(
        grad_output, branches, scales, lines
    )


def mix_backward(
    grad_output: Tensor,
    branches: Sequence[Tensor],
    scales: Tensor,
    lines: Tensor,
    moments: Tensor,
) -> list[Tensor]:
    """Compute the gradients of the branches, those through their moments included.

    With dz as in `mix_reductions`, and up_b^T the transpose of the upsampling:
        gradient of y_b = up_b^T(scale_b * dz + pooled_b) + constant_b + slope_b * y_b.

    Args:
        grad_output, branches, scales, lines: as for `mix_reductions`.
        moments: (3, B, N, C): pooled, constant, slope: what one position gets from the gradients of
            the three moments.

    Returns:
        B maps, each of its branch's shape and type, contiguous.
    """
    return _implementation(grad_output, *branches).mix_backward(
        grad_output, branches, scales, lines, moments
    )


def _implementation(*images: Tensor) -> Any:
    """The module that serves these images."""
    device, dtype = images[0].device, images[0].dtype
    if any(type(image) is not Tensor for image in images):
        # Tensors without data, as in tracing, are of a subclass: only PyTorch's operators know it.
        return torch_branch_mix
    if device.type == "cuda" and (triton := _triton_module()) and triton.serves(device):
        return triton
    if device.type == "cpu" and dtype in cpp_branch_mix.DTYPES and cpp_branch_mix.serves():
        return cpp_branch_mix
    return torch_branch_mix


@functools.cache
def _triton_module() -> Any:
    """The module of Triton kernels, None where Triton is not installed."""
    if importlib.util.find_spec("triton") is None:
        return None
    return importlib.import_module("dyhead.ops.triton_branch_mix")
