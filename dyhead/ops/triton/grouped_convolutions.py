"""Deformable convolutions of different sizes that share one launch of a Triton kernel.

Shape letters: as in `backends.arguments`; P output positions and R input pixels of all
convolutions, W kernels.
"""

import itertools
from collections.abc import Hashable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from dyhead.ops.backends import DeformConv
from dyhead.ops.triton.descriptors import (
    WIDE,
    Place,
    count_tiles,
    device_descriptors,
    join_rows,
    join_storages,
    split_rows,
)


class GroupedConvolutions:
    """The tables of a group's tensors, their descriptors, sizes and constants of the kernels.

    Attributes:
        order: the convolutions, by index, in the order in which everything here has them.
        input_of, kernel_of: of each convolution the number of its input and of its kernel.
        biases: of each kernel, all None without biases.
        table: (R, C) of all inputs.
        kernels: (W, O, kernel height, kernel width, C).
        planes: the memory of all offsets and masks.
        descriptors: (convolutions, `sampling.FIELDS`).
        output_shapes: (N, Y, X, O) of each convolution.
        images: N.
        lengths: output positions of each convolution, N * Y * X.
        image_lengths: the same of one image.
        positions_of_kernels: the same, of the convolutions of each kernel together.
        positions: P.
        constants: of every kernel.
    """

    def __init__(self, convolutions: Sequence[DeformConv]) -> None:
        """Take convolutions that agree in images' number, channels, kernel size and dilation.

        The same weight comes with the same bias.
        """
        kernel_of = _numbered(id(convolution.weight) for convolution in convolutions)
        input_of = _numbered(id(convolution.input) for convolution in convolutions)
        # One kernel's convolutions follow each other: its gradient is a sum over rows.
        self.order = sorted(range(len(convolutions)), key=kernel_of.__getitem__)
        ordered = [convolutions[index] for index in self.order]
        self.input_of = [input_of[index] for index in self.order]
        self.kernel_of = [kernel_of[index] for index in self.order]
        inputs = _each_once([call.input for call in ordered], self.input_of)
        weights = _each_once([call.weight for call in ordered], self.kernel_of)
        self.biases = _each_once([call.bias for call in ordered], self.kernel_of)
        self.strides, (padding, *_), (dilation, *_) = zip(
            *(call.pairs() for call in ordered), strict=True
        )
        masks = [call.mask for call in ordered]
        self.outputs, self.channels, *kernel_size = weights[0].shape
        self.taps = kernel_size[0] * kernel_size[1]
        self.input_shapes = [input.shape for input in inputs]
        self.output_shapes = [(len(mask), *mask.shape[2:], self.outputs) for mask in masks]
        self.images = len(masks[0])
        self.image_lengths = [height * width for _, height, width, _ in self.output_shapes]
        self.lengths = [self.images * length for length in self.image_lengths]
        self.positions = sum(self.lengths)
        self.positions_of_kernels = self._of_kernels(self.lengths)
        self.table, first_rows = join_rows([as_table(input) for input in inputs])
        self.kernels = torch.stack([weight.permute(0, 2, 3, 1) for weight in weights])
        self.planes, places = join_storages([*(call.offset for call in ordered), *masks])
        rows = self._descriptor_rows(first_rows, places[: len(masks)], places[len(masks) :])
        # Indices of 32 bits are faster, as long as they reach the last value of every table.
        largest = max(self.positions * max(self.outputs, 2 * self.taps), *self._sizes())
        self.descriptors = device_descriptors(rows, self.table, largest >= WIDE)
        self.constants = {
            "COUNT": len(masks),
            "CHANNELS": self.channels,
            "OUTPUTS": self.outputs,
            "TAPS": self.taps,
            "KERNEL_X": kernel_size[1],
            "PADDING_Y": padding[0],
            "PADDING_X": padding[1],
            "DILATION_Y": dilation[0],
            "DILATION_X": dilation[1],
        }

    def _descriptor_rows(
        self, first_rows: Sequence[int], offsets: Sequence[Place], masks: Sequence[Place]
    ) -> tuple[tuple[int, ...], ...]:
        """Describe each convolution, in the order of `sampling`."""
        first_positions = [0, *itertools.accumulate(self.lengths)]
        rows = []
        for index, (input, kernel, stride) in enumerate(
            zip(self.input_of, self.kernel_of, self.strides, strict=True)
        ):
            *_, out_width, _ = self.output_shapes[index]
            output = (
                self.lengths[index],
                first_positions[index],
                self.image_lengths[index],
                out_width,
            )
            image = first_rows[input], *self.input_shapes[input][2:]
            offset, mask = offsets[index], masks[index]
            samples = offset.first, *offset.strides, mask.first, *mask.strides
            rows.append((*output, *image, kernel, *stride, *samples))
        return tuple(rows)

    def _sizes(self) -> tuple[int, ...]:
        """Count the values of the tables that convolutions of any size share."""
        return self.table.numel(), self.planes.numel(), self.kernels.numel()

    def parts(self, block: int, count: int) -> tuple[Tensor, list[int]]:
        """Cut the blocks into about `count` parts of like length, each of one kernel.

        Returns:
            (S, 2), a part's first block and its end, and how many parts each kernel has.
        """
        blocks = self._of_kernels([count_tiles([length], block) for length in self.lengths])
        longest = max(-(-sum(blocks) // count), 1)
        rows, counts, begin = [], [], 0
        for of_kernel in blocks:
            counts.append(max(-(-of_kernel // longest), 1))
            cuts = [begin + of_kernel * part // counts[-1] for part in range(counts[-1] + 1)]
            rows += list(zip(cuts[:-1], cuts[1:], strict=True))
            begin += of_kernel
        return device_descriptors(tuple(rows), self.table), counts

    def _of_kernels(self, counts: Sequence[int]) -> list[int]:
        """Sum up the counts of each kernel's convolutions."""
        sums = [0] * (self.kernel_of[-1] + 1)
        for count, kernel in zip(counts, self.kernel_of, strict=True):
            sums[kernel] += count
        return sums

    def as_inputs(self, table: Tensor) -> list[Tensor]:
        """Cut (R, C) into (N, C, H, W) of every input, without copies."""
        shapes = [(batch, *size, channels) for batch, channels, *size in self.input_shapes]
        return split_rows(table, shapes, channels_first=True)

    def as_planes(self, values: Tensor, channels: int) -> list[Tensor]:
        """Cut values into the (N, channels, Y, X) of every convolution, without copies."""
        shapes = [(batch, channels, *size) for batch, *size, _ in self.output_shapes]
        return split_rows(values, shapes)


def as_table(image: Tensor) -> Tensor:
    """(N, C, H, W) -> (N * H * W, C), without a copy where the image is channels_last."""
    return image.permute(0, 2, 3, 1).flatten(0, 2).contiguous()


def _numbered(keys: Iterable[Hashable]) -> list[int]:
    """Give the same number to the same key, from 0 in order of appearance."""
    numbers: dict[Hashable, int] = {}
    return [numbers.setdefault(key, len(numbers)) for key in keys]


def _each_once(tensors: Sequence[Any], numbers: Sequence[int]) -> list[Any]:
    """Return the tensor of each number."""
    return [tensor for _, tensor in sorted(dict(zip(numbers, tensors, strict=True)).items())]
