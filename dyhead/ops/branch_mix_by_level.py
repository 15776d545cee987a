"""The passes of `branch_mix` over a pyramid, from passes over one level or one map."""

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

Size = tuple[int, int]
Maps = Sequence[Sequence[Tensor | None]]


class LevelPasses(Protocol):
    """A module such as `torch_branch_mix`; B here counts the maps that the level has.

    All maps are contiguous.
    """

    def channel_moments(self, image: Tensor, size: Size) -> Tensor:
        """(N, h, w, C) to (3, N, C): as `branch_mix.channel_moments`, of one map."""

    def mix_forward(
        self,
        branches: Sequence[Tensor],
        scales: Tensor,
        lines: Tensor,
        size: Size,
        out: Tensor | None,
    ) -> Tensor:
        """B maps, scales (B, N, C), lines (5, N, C) to (N, H, W, C).

        Args:
            out: where to write; may be a map of the level's size, which is then lost.
        """

    def mix_reductions(
        self, grad_output: Tensor, branches: Sequence[Tensor], scales: Tensor, lines: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The gradients of scales and lines."""

    def mix_backward(
        self,
        grad_output: Tensor,
        branches: Sequence[Tensor],
        scales: Tensor,
        lines: Tensor,
        moments: Tensor,
    ) -> list[Tensor]:
        """B gradients; moments is (3, B, N, C)."""


class ByLevel:
    """The functions of `branch_mix`, level by level; see there."""

    def __init__(self, passes: LevelPasses) -> None:
        self.passes = passes

    def channel_moments(self, maps: Maps, sizes: Sequence[Size]) -> Tensor:
        """See `branch_mix.channel_moments`."""
        return stack_levels(
            [
                [
                    image if image is None else self.passes.channel_moments(image, size)
                    for image in level
                ]
                for level, size in zip(maps, sizes, strict=True)
            ]
        )

    def mix_forward(
        self, maps: Maps, scales: Tensor, lines: Tensor, sizes: Sequence[Size], overwrite: bool
    ) -> list[Tensor]:
        """See `branch_mix.mix_forward`."""
        outputs = []
        for index, (level, size) in enumerate(zip(maps, sizes, strict=True)):
            present, branches = _present(level)
            at_size = (image for image in branches if tuple(image.shape[1:3]) == size)
            out = next(at_size, None) if overwrite else None
            outputs.append(
                self.passes.mix_forward(branches, scales[index, present], lines[index], size, out)
            )
        return outputs

    def mix_reductions(
        self, grads: Sequence[Tensor], maps: Maps, scales: Tensor, lines: Tensor
    ) -> tuple[Tensor, Tensor]:
        """See `branch_mix.mix_reductions`."""
        grad_scales, grad_lines = torch.zeros_like(scales), torch.empty_like(lines)
        for index, (grad, level) in enumerate(zip(grads, maps, strict=True)):
            present, branches = _present(level)
            found = self.passes.mix_reductions(grad, branches, scales[index, present], lines[index])
            grad_scales[index, present], grad_lines[index] = found
        return grad_scales, grad_lines

    def mix_backward(
        self,
        grads: Sequence[Tensor],
        maps: Maps,
        scales: Tensor,
        lines: Tensor,
        moments: Tensor,
    ) -> list[list[Tensor | None]]:
        """See `branch_mix.mix_backward`."""
        gradients = []
        for index, (grad, level) in enumerate(zip(grads, maps, strict=True)):
            present, branches = _present(level)
            found = iter(
                self.passes.mix_backward(
                    grad,
                    branches,
                    scales[index, present],
                    lines[index],
                    moments[:, index, present].contiguous(),
                )
            )
            gradients.append([image if image is None else next(found) for image in level])
        return gradients


def _present(level: Sequence[Tensor | None]) -> tuple[slice, list[Tensor]]:
    """Which maps a level has, and these; they have nothing missing between them."""
    branches = [image for image in level if image is not None]
    first = next(index for index, image in enumerate(level) if image is not None)
    return slice(first, first + len(branches)), branches


def stack_levels(rows: Sequence[Sequence[Tensor | None]]) -> Tensor:
    """Stack L lists of B tensors (...) to (L, B, ...), zeros where one is None."""
    zeros = torch.zeros_like(next(value for value in rows[0] if value is not None))
    values = [zeros if value is None else value for row in rows for value in row]
    return torch.stack(values).unflatten(0, (len(rows), -1))
