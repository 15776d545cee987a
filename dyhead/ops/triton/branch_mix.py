"""The passes of a fused block in Triton, for CUDA: a launch or two for all levels and branches.

Triton is optional: `branch_mix` comes here only where it is installed and `serves` says so.

Shape letters: as in `branch_mix`; S parts of the positions.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from dyhead.ops.branch_mix import Maps, Passes, Size
from dyhead.ops.pytorch.branch_mix import PyTorchPasses
from dyhead.ops.triton.descriptors import MAX_DESCRIPTORS, count_tiles, join_rows, split_rows
from dyhead.ops.triton.pyramid import Pyramid
from dyhead.ops.triton.self_check import passes_check, values

MAX_BRANCHES = 3  # of the kernels: a pyramid's level has two neighbours
MAX_PARTS = 256  # of the positions of one level, where sums over them are taken
TILE_VALUES = 4096
JOIN_OPTIONS = {"BLOCK_S": MAX_PARTS, "BLOCK_C": 16, "num_warps": 4, "enable_fp_fusion": True}

_PYTORCH = PyTorchPasses()


class TritonPasses(Passes):
    """Triton's kernels on CUDA; what they do not take goes to plain PyTorch."""

    device_type = "cuda"

    def serves(self, device: torch.device, dtype: torch.dtype) -> bool:
        """Tell if the kernels work on a device."""
        return serves(device)

    def channel_moments(self, maps: Maps, sizes: Sequence[Size]) -> Tensor:
        """Compute `branch_mix.channel_moments` for all levels at once."""
        if _unfit(maps):
            return _PYTORCH.channel_moments(maps, sizes)
        from dyhead.ops.triton.moments_kernels import moments_kernel

        pyramid = Pyramid(maps, sizes)
        tiles = tile_options(pyramid.channels)
        span = _span(pyramid.map_lengths, tiles["BLOCK_P"])
        parts = count_tiles(pyramid.map_lengths, span)
        shape = pyramid.num_images, pyramid.channels
        # Written part by part and joined by a second launch: atomic sums would differ between runs.
        partial = pyramid.table.new_empty(parts, 3, *shape, dtype=torch.float32)
        with torch.cuda.device_of(partial):
            moments_kernel[_grid(parts, pyramid, tiles)](
                pyramid.map_descriptors,
                pyramid.table,
                partial,
                pyramid.num_images,
                span,
                MAPS=len(pyramid.map_lengths),
                CHANNELS=pyramid.channels,
                **tiles,
            )
        return join_moments(pyramid.map_descriptors, partial, span).unflatten(0, (len(maps), -1))

    def mix_forward(
        self,
        maps: Maps,
        scales: Tensor,
        dyrelu: Tensor,
        sizes: Sequence[Size],
        overwrite: bool = False,
    ) -> list[Tensor]:
        """Compute `branch_mix.mix_forward` for all levels at once."""
        if _unfit(maps):
            return _PYTORCH.mix_forward(maps, scales, dyrelu, sizes, overwrite)
        from dyhead.ops.triton.mix_kernels import forward_kernel

        pyramid = Pyramid(maps, sizes)
        tiles = tile_options(pyramid.channels)
        blocks = count_tiles(pyramid.level_lengths, tiles["BLOCK_P"])
        rows = pyramid.num_images * sum(pyramid.level_lengths)
        output = pyramid.table.new_empty(rows, pyramid.channels)
        with torch.cuda.device_of(output):
            forward_kernel[_grid(blocks, pyramid, tiles)](
                pyramid.map_descriptors,
                pyramid.level_descriptors,
                pyramid.table,
                scales,
                dyrelu,
                output,
                pyramid.num_images,
                **pyramid.constants,
                **tiles,
            )
        return split_rows(output, [(pyramid.num_images, *size, pyramid.channels) for size in sizes])

    def mix_reductions(
        self, grads: Sequence[Tensor], maps: Maps, scales: Tensor, dyrelu: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Compute `branch_mix.mix_reductions` for all levels at once."""
        if _unfit(maps):
            return _PYTORCH.mix_reductions(grads, maps, scales, dyrelu)
        from dyhead.ops.triton.mix_kernels import join_reductions_kernel, reductions_kernel

        pyramid = Pyramid(maps, _sizes(grads))
        grad_rows, _ = join_rows([grad.flatten(0, 2) for grad in grads])
        tiles = tile_options(
            pyramid.channels, TILE_VALUES // 4
        )  # a sum per branch and four stay in registers
        span = _span(pyramid.level_lengths, tiles["BLOCK_P"])
        parts = count_tiles(pyramid.level_lengths, span)
        partial = scales.new_empty(parts, 4 + len(maps[0]), pyramid.num_images, pyramid.channels)
        grad_scales, grad_dyrelu = torch.empty_like(scales), torch.empty_like(dyrelu)
        with torch.cuda.device_of(partial):
            reductions_kernel[_grid(parts, pyramid, tiles)](
                pyramid.map_descriptors,
                pyramid.level_descriptors,
                pyramid.table,
                scales,
                dyrelu,
                grad_rows,
                partial,
                pyramid.num_images,
                span,
                **pyramid.constants,
                **tiles,
            )
            join_reductions_kernel[_grid(len(maps), pyramid, JOIN_OPTIONS)](
                pyramid.map_descriptors,
                pyramid.level_descriptors,
                partial,
                dyrelu,
                grad_scales,
                grad_dyrelu,
                pyramid.num_images,
                span,
                **pyramid.constants,
                **JOIN_OPTIONS,
            )
        return grad_scales, grad_dyrelu

    def mix_backward(
        self,
        grads: Sequence[Tensor],
        maps: Maps,
        scales: Tensor,
        dyrelu: Tensor,
        moment_gradients: Tensor,
    ) -> list[list[Tensor | None]]:
        """Compute `branch_mix.mix_backward` for all levels at once."""
        if _unfit(maps):
            return _PYTORCH.mix_backward(grads, maps, scales, dyrelu, moment_gradients)
        from dyhead.ops.triton.mix_backward_kernels import backward_kernel, finish_upsampled_kernel

        pyramid = Pyramid(maps, _sizes(grads))
        grad_rows, _ = join_rows([grad.flatten(0, 2) for grad in grads])
        gradients = torch.empty_like(pyramid.table)
        # A smaller map's position gets shares of several of the level's: those need float32.
        rows = pyramid.num_images * sum(pyramid.upsampled_lengths)
        collected = scales.new_zeros(max(rows, 1), pyramid.channels)
        tiles = tile_options(pyramid.channels, TILE_VALUES // 2)
        blocks = count_tiles(pyramid.level_lengths, tiles["BLOCK_P"])
        with torch.cuda.device_of(gradients):
            backward_kernel[_grid(blocks, pyramid, tiles)](
                pyramid.map_descriptors,
                pyramid.level_descriptors,
                pyramid.table,
                scales,
                dyrelu,
                grad_rows,
                moment_gradients,
                gradients,
                collected,
                pyramid.num_images,
                **pyramid.constants,
                **tiles,
            )
            tiles = tile_options(pyramid.channels)
            blocks = count_tiles(pyramid.upsampled_lengths, tiles["BLOCK_P"])
            if blocks:
                finish_upsampled_kernel[_grid(blocks, pyramid, tiles)](
                    pyramid.map_descriptors,
                    pyramid.table,
                    moment_gradients,
                    collected,
                    gradients,
                    pyramid.num_images,
                    **pyramid.constants,
                    **tiles,
                )
        return pyramid.as_maps(gradients)


def serves(device: torch.device) -> bool:
    """Tell if the kernels work on `device`; see `self_check.passes_check`."""
    return passes_check(device, _outcomes, "The passes of fused blocks use plain PyTorch")


def _outcomes(
    device: torch.device, dtype: torch.dtype
) -> tuple[Sequence[Tensor], Sequence[Tensor]]:
    """Compute all passes over a tiny pyramid, by Triton and in plain PyTorch."""
    sizes = [(5, 4), (3, 2)]
    fine, coarse, below, above, scales, dyrelu, moments = (
        value.to(device)
        for value in values(
            *((1, 5, 4, 18), (1, 3, 2, 18), (1, 3, 2, 18), (1, 3, 2, 18)),
            *((2, 3, 1, 18), (2, 5, 1, 18), (3, 2, 3, 1, 18)),
        )
    )
    results = []
    for passes, kind in ((TritonPasses(), dtype), (_PYTORCH, torch.float32)):
        first, second, third, fourth = (
            image.to(dtype).to(kind) for image in (fine, coarse, below, above)
        )
        maps, grads = [[None, first, second], [third, fourth, None]], [first, third]
        found = [passes.channel_moments(maps, sizes)]
        found += passes.mix_forward(maps, scales, dyrelu, sizes, overwrite=False)
        found += passes.mix_reductions(grads, maps, scales, dyrelu)
        for level in passes.mix_backward(grads, maps, scales, dyrelu, moments):
            found += [gradient for gradient in level if gradient is not None]
        results.append(found)
    return results[0], results[1]


def join_moments(maps: Tensor, partial: Tensor, span: int) -> Tensor:
    """Join the moments of parts of maps.

    Args:
        maps: (M, `mix_reading.MAP_FIELDS`), the maps' descriptors.
        partial: (S, 3, N, C) as `moments_kernels.moments_kernel` writes it.
        span: positions of a part.

    Returns:
        (M, 3, N, C), see `branch_mix.channel_moments`.
    """
    from dyhead.ops.triton.moments_kernels import join_moments_kernel

    _, _, images, channels = partial.shape
    moments = partial.new_empty(len(maps), 3, images, channels)
    if moments.numel():
        with torch.cuda.device_of(partial):
            join_moments_kernel[len(maps), images, -(-channels // JOIN_OPTIONS["BLOCK_C"])](
                maps,
                partial,
                moments,
                images,
                span,
                MAPS=len(maps),
                CHANNELS=channels,
                **JOIN_OPTIONS,
            )
    return moments


def _unfit(maps: Maps) -> bool:
    """Tell if these maps are for plain PyTorch: double precision, nothing at all, or too many."""
    first = next(image for image in maps[0] if image is not None)
    too_many = len(maps[0]) > MAX_BRANCHES or len(maps) * len(maps[0]) > MAX_DESCRIPTORS
    return first.dtype == torch.float64 or not first.numel() or too_many


def _sizes(grads: Sequence[Tensor]) -> list[Size]:
    return [(grad.shape[1], grad.shape[2]) for grad in grads]


def _grid(blocks: int, pyramid: Pyramid, tiles: dict[str, Any]) -> tuple[int, int, int]:
    return blocks, pyramid.num_images, -(-pyramid.channels // tiles["BLOCK_C"])


def _span(lengths: Sequence[int], block: int) -> int:
    """Choose a length of parts of the positions, such that one kernel joins a map's or level's."""
    blocks = -(-max(lengths) // block)
    return -(-blocks // MAX_PARTS) * block


def tile_options(channels: int, count: int | None = None) -> dict[str, Any]:
    """Choose tiles: all channels, up to 256, and positions to fill a tile of `count` values."""
    block = min(max(16, 1 << (channels - 1).bit_length()), 256)
    return {
        "BLOCK_P": (count or TILE_VALUES) // block,
        "BLOCK_C": block,
        "num_warps": 8,
        "enable_fp_fusion": True,  # named, since Triton's default changes with its version
    }
