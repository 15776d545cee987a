"""Convolutions and maps of a feature pyramid, as the kernels of a DyHead block meet them.

A level is convolved by itself, with the next finer one by stride 2, and with the next coarser one,
which reads the level's offsets as `flat_read` does. All three kernels serve all levels.
"""

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import torch
from gpu_cases import CHANNELS, normals
from torch import Tensor

from dyhead.layers.map_sizes import flat_read
from dyhead.ops import DeformConv

Size = tuple[int, int]
TAPS = 9
OFFSETS = 2 * TAPS
STEPS = 1024  # of an offset, in a pixel


class Tensors(NamedTuple):
    """The tensors that a pyramid's convolutions read.

    Attributes:
        levels: (N, C, H, W), finest first.
        planes: (N, 27, H, W) of every level: offsets, and masks between 0 and 1.
        weights, biases: (O, C, 3, 3) and (O,) for the finer, the same and the coarser level.
    """

    levels: list[Tensor]
    planes: list[Tensor]
    weights: list[Tensor]
    biases: list[Tensor]

    def double(self) -> "Tensors":
        """The same numbers in float64."""
        return Tensors(*([tensor.double() for tensor in group] for group in self))

    def leaves(self) -> "Tensors":
        """The same numbers, for which gradients are asked."""
        return Tensors(*([tensor.detach().requires_grad_() for tensor in group] for group in self))

    def flat(self) -> list[Tensor]:
        """All of them, in order."""
        return list(itertools.chain(*self))

    def like(self, flat: Sequence[Tensor]) -> "Tensors":
        """Undo `flat`."""
        rest = iter(flat)
        return Tensors(*([next(rest) for _ in group] for group in self))


def make_tensors(
    sizes: Sequence[Size], batch: int, dtype: torch.dtype, channels: int = CHANNELS, seed: int = 0
) -> Tensors:
    """Draw tensors whose convolutions have values of about one.

    Offsets are whole parts of a pixel, so that float32 holds every coordinate as float64 does. Of
    others some few in a million fall beside another pixel, where gradients of offsets jump.
    """
    normal = normals(seed)
    levels = [normal(batch, channels, *size).to(dtype) for size in sizes]
    planes = []
    for size in sizes:
        offset = (2 * STEPS * normal(batch, OFFSETS, *size)).round() / STEPS
        planes.append(torch.cat((offset, normal(batch, TAPS, *size).sigmoid()), dim=1))
    scale = (channels * TAPS) ** -0.5
    weights = [(scale * normal(channels, channels, 3, 3)).to(dtype) for _ in range(3)]
    return Tensors(levels, planes, weights, [normal(channels).to(dtype) for _ in range(3)])


def convolutions(tensors: Tensors) -> tuple[list[DeformConv], list[Size]]:
    """The convolutions as a block lists them, and the sizes of the levels that they are for."""
    levels = tensors.levels
    finer, same, coarser = zip(tensors.weights, tensors.biases, strict=True)
    calls, sizes = [], []
    for index, (level, planes) in enumerate(zip(levels, tensors.planes, strict=True)):
        where = planes[:, :OFFSETS], planes[:, OFFSETS:]
        of_level = []
        if index:
            of_level.append(DeformConv(levels[index - 1], *where, *finer, (2, 2), (1, 1), (1, 1)))
        of_level.append(DeformConv(level, *where, *same, (1, 1), (1, 1), (1, 1)))
        if index + 1 < len(levels):
            below = levels[index + 1]
            fitted = [flat_read(part, *below.shape[2:]) for part in where]
            of_level.append(DeformConv(below, *fitted, *coarser, (1, 1), (1, 1), (1, 1)))
        calls += of_level
        sizes += [(level.shape[2], level.shape[3])] * len(of_level)
    return calls, sizes


def block_maps(sizes: Sequence[Size]) -> list[list[Size | None]]:
    """The sizes of the maps that a block mixes on every level: finer, same and coarser."""
    coarser = [*sizes[1:], None]
    return [[size if index else None, size, coarser[index]] for index, size in enumerate(sizes)]
