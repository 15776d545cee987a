"""Tile sizes of the Triton kernels of `deform_conv`, and the precision of their products."""

import torch

from dyhead.ops.triton.self_check import is_interpreted

# Up to so many positions a launch has too few tiles to fill a GPU: small tiles and deeper pipelines
# win.
FEW_POSITIONS = 4096


def forward_options(
    dtype: torch.dtype, channels: int, outputs: int, positions: int
) -> dict[str, int]:
    """Choose options of the forward kernel: many output channels at once, as each tile samples."""
    wide = dtype == torch.float32
    if positions <= FEW_POSITIONS:
        return _options(32, _tile(channels, 32 if wide else 64), _tile(outputs, 64), 4, 4)
    if wide:
        return _options(64, _tile(channels, 32), _tile(outputs, 128), 8, 2)
    return _options(64, _tile(channels, 64), _tile(outputs, 256), 4, 2)


def backward_samples_options(dtype: torch.dtype, channels: int, outputs: int) -> dict[str, int]:
    """Choose options of the kernel for the gradients of input, offset and mask."""
    return _options(
        64, _tile(channels, 64), _tile(outputs, 32 if dtype == torch.float32 else 64), 8, 3
    )


def backward_weight_options(dtype: torch.dtype, channels: int, outputs: int) -> dict[str, int]:
    """Choose options of the kernel for the weight's gradient."""
    if dtype == torch.float32:
        return _options(32, _tile(channels, 64), _tile(outputs, 128), 8, 2)
    return _options(64, _tile(channels, 64), _tile(outputs, 256), 4, 2)


def _options(
    positions: int, channels: int, outputs: int, warps: int, stages: int
) -> dict[str, int]:
    return {
        "BLOCK_P": positions,
        "BLOCK_C": channels,
        "BLOCK_O": outputs,
        "num_warps": warps,
        "num_stages": stages,
        "enable_fp_fusion": True,  # named, since Triton's default changes with its version
    }


def _tile(length: int, limit: int) -> int:
    """Return the power of two that covers `length`, from what a tensor core takes to the limit."""
    return min(max(16, 1 << (length - 1).bit_length()), limit)


def precision(dtype: torch.dtype) -> str:
    """Choose how tensor cores multiply float32: as TF32 only where PyTorch's setting allows it.

    Otherwise every factor is split into two TF32 parts, which keeps float32's precision.
    """
    if dtype != torch.float32:
        return "emulated" if is_interpreted() else "ieee"
    matmul = torch.backends.cuda.matmul
    # Newer versions refuse to tell the older setting once the newer one was used.
    setting = getattr(matmul, "fp32_precision", None)
    allowed = matmul.allow_tf32 if setting is None else setting == "tf32"
    return "tf32" if allowed else "tf32x3"
