"""Several deformable convolutions as the Triton kernels of `triton_deform_conv` see them.

Shape letters: as in `deform_conv`; P output positions and R input pixels of all convolutions, W
kernels.
"""

import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from dyhead.ops.triton.descriptors import (
    WIDE,
    Place,
    count_blocks,
    device_table,
    join_rows,
    join_storages,
    split_rows,
)

Pair = tuple[int, int]


class Layout(NamedTuple):
    """Which tensors each convolution uses, and how.

    Attributes:
        inputs, kernels: of each convolution its input and its kernel, both by number; kernels in
            ascending order.
        strides: of each convolution.
        padding, dilation: of all.
    """

    inputs: tuple[int, ...]
    kernels: tuple[int, ...]
    strides: tuple[Pair, ...]
    padding: Pair
    dilation: Pair

    def split(self, values: Sequence[Any], has_biases: bool = True) -> list[list[Any]]:
        """Undo the concatenation of inputs, weights, biases, offsets and masks."""
        kernels, count = self.kernels[-1] + 1, len(self.kernels)
        rest = iter(values)
        counts = (max(self.inputs) + 1, kernels, kernels * has_biases, count, count)
        return [[next(rest) for _ in range(length)] for length in counts]


class Problems:
    """Tables, sizes and constants of the kernels.

    Attributes:
        table: (R, C) of all inputs.
        kernels: (W, O, kernel height, kernel width, C).
        planes: the memory of all offsets and masks.
        records: (convolutions, `triton_sampling.FIELDS`).
        output_shapes: (N, Y, X, O) of each convolution.
        images: N.
        lengths: output positions of each convolution, N * Y * X.
        image_lengths: the same of one image.
        positions_of_kernels: the same, of the convolutions of each kernel together.
        positions: P.
        constants: of every kernel.
    """

    def __init__(
        self,
        layout: Layout,
        inputs: Sequence[Tensor],
        weights: Sequence[Tensor],
        offsets: Sequence[Tensor],
        masks: Sequence[Tensor],
    ) -> None:
        self.layout = layout
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
        self.planes, places = join_storages([*offsets, *masks])
        rows = self._record_rows(first_rows, places[: len(masks)], places[len(masks) :])
        largest = max(self.positions * max(self.outputs, 2 * self.taps), *self._sizes())
        self.records = device_table(rows, self.table, largest >= WIDE)
        self.constants = {
            "COUNT": len(masks),
            "CHANNELS": self.channels,
            "OUTPUTS": self.outputs,
            "TAPS": self.taps,
            "KERNEL_X": kernel_size[1],
            "PADDING_Y": layout.padding[0],
            "PADDING_X": layout.padding[1],
            "DILATION_Y": layout.dilation[0],
            "DILATION_X": layout.dilation[1],
        }

    def _record_rows(
        self, first_rows: Sequence[int], offsets: Sequence[Place], masks: Sequence[Place]
    ) -> tuple[tuple[int, ...], ...]:
        """What each convolution's record says, in the order of `triton_sampling`."""
        first_positions = [0, *itertools.accumulate(self.lengths)]
        rows = []
        for index, (input, kernel, stride) in enumerate(
            zip(self.layout.inputs, self.layout.kernels, self.layout.strides, strict=True)
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
        """How many values the tables have that convolutions of any size share."""
        return self.table.numel(), self.planes.numel(), self.kernels.numel()

    def parts(self, block: int, count: int) -> tuple[Tensor, list[int]]:
        """Cut the blocks into about `count` parts of like length, each of one kernel.

        Returns:
            (S, 2), a part's first block and its end, and how many parts each kernel has.
        """
        blocks = self._of_kernels([count_blocks([length], block) for length in self.lengths])
        longest = max(-(-sum(blocks) // count), 1)
        rows, counts, begin = [], [], 0
        for of_kernel in blocks:
            counts.append(max(-(-of_kernel // longest), 1))
            cuts = [begin + of_kernel * part // counts[-1] for part in range(counts[-1] + 1)]
            rows += list(zip(cuts[:-1], cuts[1:], strict=True))
            begin += of_kernel
        return device_table(tuple(rows), self.table), counts

    def _of_kernels(self, counts: Sequence[int]) -> list[int]:
        """Sums over the convolutions of each kernel."""
        sums = [0] * (self.layout.kernels[-1] + 1)
        for count, kernel in zip(counts, self.layout.kernels, strict=True):
            sums[kernel] += count
        return sums

    def as_inputs(self, table: Tensor) -> list[Tensor]:
        """(R, C) to (N, C, H, W) of every input, without copies."""
        shapes = [(batch, *size, channels) for batch, channels, *size in self.input_shapes]
        return [image.permute(0, 3, 1, 2) for image in split_rows(table, shapes)]

    def as_planes(self, values: Tensor, channels: int) -> list[Tensor]:
        """The (N, channels, Y, X) of every convolution, one after the other, without copies."""
        shapes = [(batch, channels, *size) for batch, *size, _ in self.output_shapes]
        return split_rows(values, shapes)


def as_table(image: Tensor) -> Tensor:
    """(N, C, H, W) -> (N * H * W, C), without a copy where the image is channels_last."""
    return image.permute(0, 2, 3, 1).flatten(0, 2).contiguous()
