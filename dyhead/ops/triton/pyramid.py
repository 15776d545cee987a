"""Descriptors of a pyramid's maps for the Triton kernels of `branch_mix`.

Shape letters: as in `branch_mix`.
"""

from collections.abc import Sequence

from torch import Tensor

from dyhead.ops.branch_mix import Maps, Size
from dyhead.ops.triton.descriptors import WIDE, device_descriptors, join_rows, split_rows


def map_descriptor(
    size: Size, level_size: Size, first_row: int = 0, collected_row: int = 0
) -> tuple[int, ...]:
    """Describe a map, in the order of `mix_reading`.

    Args:
        size, level_size: of the map and of its level, (height, width).
        first_row: of the map in the table of all maps.
        collected_row: of a smaller map in the table that collects the gradients of smaller ones.
    """
    length = size[0] * size[1]
    upsampled = length if tuple(size) != tuple(level_size) else 0
    return length, first_row, *size, *level_size, upsampled, collected_row


class Pyramid:
    """The table of all maps, its descriptors, sizes and constants of the kernels.

    Attributes:
        table: (rows, C) of all maps.
        present: indices of the maps that are there, of all L * B.
        shapes: (N, h, w, C) of each of these.
        first_rows: where each of these begins in the table.
        map_descriptors: (L * B, `mix_reading.MAP_FIELDS`).
        level_descriptors: (L, `mix_reading.LEVEL_FIELDS`).
        map_lengths, upsampled_lengths: positions of an image, of all maps and of those that are
            smaller than their level; 0 for all others.
        level_lengths: the same of every level.
        num_images, channels: N, C.
        constants: of the kernels that work on levels.
    """

    def __init__(self, maps: Maps, sizes: Sequence[Size]) -> None:
        flat = [each for level in maps for each in level]
        self.present = [index for index, each in enumerate(flat) if each is not None]
        present = [each for each in flat if each is not None]
        self.shapes = [each.shape for each in present]
        self.num_images, *_, self.channels = self.shapes[0]
        self.table, self.first_rows = join_rows(
            [each.flatten(0, 2) for each in present], any_order=True
        )
        self.map_lengths, self.upsampled_lengths = [0] * len(flat), [0] * len(flat)
        self.level_lengths = [height * width for height, width in sizes]
        self.constants = {
            "LEVELS": len(maps),
            "BRANCHES": len(maps[0]),
            "CHANNELS": self.channels,
        }
        values = max(len(self.table), self.num_images * sum(self.level_lengths)) * self.channels
        map_rows, level_rows = self._map_rows(sizes), self._level_rows(sizes)
        self.map_descriptors = device_descriptors(map_rows, self.table, values >= WIDE)
        self.level_descriptors = device_descriptors(level_rows, self.table, values >= WIDE)

    def _map_rows(self, sizes: Sequence[Size]) -> tuple[tuple[int, ...], ...]:
        # A map that its level lacks has no positions, hence no tiles; kernels need its descriptor.
        rows: list[tuple[int, ...]] = [(0,) * 8] * len(self.map_lengths)
        collected_row = 0  # gradients of upsampled maps are added up in a table of their own
        for index, first_row, shape in zip(self.present, self.first_rows, self.shapes, strict=True):
            _, height, width, _ = shape
            level_size = sizes[index // self.constants["BRANCHES"]]
            rows[index] = map_descriptor((height, width), level_size, first_row, collected_row)
            self.map_lengths[index], *_, self.upsampled_lengths[index], _ = rows[index]
            collected_row += self.num_images * self.upsampled_lengths[index]
        return tuple(rows)

    def _level_rows(self, sizes: Sequence[Size]) -> tuple[tuple[int, ...], ...]:
        rows, first_row = [], 0
        for height, width in sizes:
            rows.append((height * width, first_row, height, width))
            first_row += self.num_images * height * width
        return tuple(rows)

    def as_maps(self, table: Tensor) -> list[list[Tensor | None]]:
        """Cut (rows, C) like `table` into L lists of B, without copies."""
        order = sorted(range(len(self.present)), key=self.first_rows.__getitem__)
        parts = split_rows(table, [self.shapes[index] for index in order])
        flat: list[Tensor | None] = [None] * len(self.map_lengths)
        for index, part in zip(order, parts, strict=True):
            flat[self.present[index]] = part
        branches = self.constants["BRANCHES"]
        return [flat[start : start + branches] for start in range(0, len(flat), branches)]
