"""The passes of `branch_mix` in Triton, for CUDA.

Triton is optional: `branch_mix` comes here only where it is installed and `serves` says so.

Shape letters: as in `branch_mix`; S parts of the positions.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from dyhead.ops import torch_branch_mix, triton_deform_conv

Size = tuple[int, int]

MAX_BRANCHES = 3  # of the kernels: a pyramid's level has two neighbours
MAX_PARTS = 256  # of the positions, where sums over them are taken
TILE_VALUES = 4096


def serves(device: torch.device) -> bool:
    """Whether Triton works on `device`: as the deformable convolution's self-check found."""
    return triton_deform_conv.serves(device)


def channel_moments(image: Tensor, size: Size) -> Tensor:
    """See `branch_mix.channel_moments`."""
    if _unfit([image]):
        return torch_branch_mix.channel_moments(image, size)
    from dyhead.ops.triton_moments_kernels import join_moments_kernel, moments_kernel

    batch, height, width, channels = image.shape
    upsampled = size != (height, width)
    tiles = _tiles(channels)
    parts, span = _parts(height * width, tiles["BLOCK_P"])
    partial = image.new_empty(parts, 3, batch, channels, dtype=torch.float32)
    moments = image.new_empty(3, batch, channels, dtype=torch.float32)
    with torch.cuda.device_of(image):
        moments_kernel[parts, batch, _blocks(channels, tiles["BLOCK_C"])](
            image,
            partial,
            span,
            batch,
            *size,
            height,
            width,
            CHANNELS=channels,
            UPSAMPLED=upsampled,
            WIDE=image.numel() >= 2**31,
            **tiles,
        )
        join_moments_kernel[batch, _blocks(channels, 16)](
            partial,
            moments,
            parts,
            span,
            height * width,
            size[0] * size[1],
            batch,
            CHANNELS=channels,
            UPSAMPLED=upsampled,
            **_JOIN,
        )
    return moments


def mix_forward(
    branches: Sequence[Tensor],
    scales: Tensor,
    lines: Tensor,
    size: Size,
    out: Tensor | None = None,
) -> Tensor:
    """See `branch_mix.mix_forward`."""
    if _unfit(branches):
        return torch_branch_mix.mix_forward(branches, scales, lines, size, out)
    from dyhead.ops.triton_mix_kernels import forward_kernel

    batch, *_, channels = branches[0].shape
    output = branches[0].new_empty(batch, *size, channels) if out is None else out
    tiles = _tiles(channels)
    with torch.cuda.device_of(output):
        forward_kernel[_grid(output, tiles)](
            *_padded(branches),
            scales,
            lines,
            output,
            *_sizes(output, branches),
            **_constants(output, branches),
            **tiles,
        )
    return output


def mix_reductions(
    grad_output: Tensor, branches: Sequence[Tensor], scales: Tensor, lines: Tensor
) -> tuple[Tensor, Tensor]:
    """See `branch_mix.mix_reductions`."""
    if _unfit(branches):
        return torch_branch_mix.mix_reductions(grad_output, branches, scales, lines)
    from dyhead.ops.triton_mix_kernels import join_reductions_kernel, reductions_kernel

    batch, height, width, channels = grad_output.shape
    tiles = _tiles(channels, TILE_VALUES // 4)  # seven sums stay in registers
    parts, span = _parts(height * width, tiles["BLOCK_P"])
    partial = scales.new_empty(parts, 4 + len(branches), batch, channels)
    grad_scales, grad_lines = torch.empty_like(scales), torch.empty_like(lines)
    with torch.cuda.device_of(grad_output):
        reductions_kernel[parts, batch, _blocks(channels, tiles["BLOCK_C"])](
            grad_output,
            *_padded(branches),
            scales,
            lines,
            partial,
            span,
            *_sizes(grad_output, branches),
            **_constants(grad_output, branches),
            **tiles,
        )
        join_reductions_kernel[batch, _blocks(channels, 16)](
            partial,
            lines,
            grad_scales,
            grad_lines,
            parts,
            batch,
            CHANNELS=channels,
            BRANCHES=len(branches),
            **_JOIN,
        )
    return grad_scales, grad_lines


def mix_backward(
    grad_output: Tensor,
    branches: Sequence[Tensor],
    scales: Tensor,
    lines: Tensor,
    moments: Tensor,
) -> list[Tensor]:
    """See `branch_mix.mix_backward`."""
    if _unfit(branches):
        return torch_branch_mix.mix_backward(grad_output, branches, scales, lines, moments)
    from dyhead.ops.triton_mix_backward_kernels import backward_kernel

    same = [branch.shape == grad_output.shape for branch in branches]
    # A smaller branch's position gets shares of several of the level's: those need float32.
    gradients = [
        torch.empty_like(branch) if is_same else torch.zeros_like(branch, dtype=torch.float32)
        for branch, is_same in zip(branches, same, strict=True)
    ]
    tiles = _tiles(grad_output.shape[-1], TILE_VALUES // 2)
    with torch.cuda.device_of(grad_output):
        backward_kernel[_grid(grad_output, tiles)](
            grad_output,
            *_padded(branches),
            scales,
            lines,
            moments,
            *_padded(gradients),
            *_sizes(grad_output, branches),
            **_constants(grad_output, branches),
            **tiles,
        )
        return [
            gradient if is_same else _finish(gradient, branch, *moments[1:, index])
            for index, (gradient, branch, is_same) in enumerate(
                zip(gradients, branches, same, strict=True)
            )
        ]


def _finish(collected: Tensor, branch: Tensor, constant: Tensor, slope: Tensor) -> Tensor:
    """Complete the gradient of a smaller branch: what comes through its moments, its type."""
    from dyhead.ops.triton_mix_backward_kernels import finish_upsampled_kernel

    batch, height, width, channels = branch.shape
    gradient = torch.empty_like(branch)
    tiles = _tiles(channels)
    finish_upsampled_kernel[_grid(branch, tiles)](
        collected,
        branch,
        constant,
        slope,
        gradient,
        batch,
        height * width,
        CHANNELS=channels,
        WIDE=branch.numel() >= 2**31,
        **tiles,
    )
    return gradient


_JOIN = {"BLOCK_S": MAX_PARTS, "BLOCK_C": 16, "num_warps": 4, "enable_fp_fusion": True}


def _unfit(branches: Sequence[Tensor]) -> bool:
    """Whether these maps are for plain PyTorch: double precision, nothing at all, or too many."""
    first = branches[0]
    return first.dtype == torch.float64 or not first.numel() or len(branches) > MAX_BRANCHES


def _tiles(channels: int, values: int = TILE_VALUES) -> dict[str, Any]:
    """As many channels as there are, up to 256, and positions to fill the tile."""
    block = min(max(16, 1 << (channels - 1).bit_length()), 256)
    return {
        "BLOCK_P": values // block,
        "BLOCK_C": block,
        "num_warps": 8,
        "enable_fp_fusion": True,  # named, since Triton's default changes with its version
    }


def _parts(positions: int, block: int) -> tuple[int, int]:
    """How many parts the positions are cut into, and the length of one."""
    blocks = _blocks(positions, block)
    span = _blocks(blocks, MAX_PARTS) * block
    return _blocks(positions, span), span


def _grid(level: Tensor, tiles: dict[str, Any]) -> tuple[int, int, int]:
    batch, height, width, channels = level.shape
    blocks = _blocks(height * width, tiles["BLOCK_P"])
    return blocks, batch, _blocks(channels, tiles["BLOCK_C"])


def _padded(tensors: Sequence[Tensor]) -> list[Tensor]:
    """As many tensors as the kernels take; they do not look at those that are not there."""
    return [*tensors, *[tensors[0]] * (MAX_BRANCHES - len(tensors))]


def _sizes(level: Tensor, branches: Sequence[Tensor]) -> list[int]:
    """The run-time sizes: images, the level's height and width, and each branch's."""
    sizes = [size for branch in _padded(branches) for size in branch.shape[1:3]]
    return [*level.shape[:3], *sizes]


def _constants(level: Tensor, branches: Sequence[Tensor]) -> dict[str, Any]:
    """The constants that a kernel is compiled for."""
    same = [branch.shape == level.shape for branch in _padded(branches)]
    return {
        "CHANNELS": level.shape[-1],
        "BRANCHES": len(branches),
        **{f"SAME{index}": is_same for index, is_same in enumerate(same)},
        "WIDE": level.numel() >= 2**31,
    }


def _blocks(length: int, block: int) -> int:
    return -(-length // block)
