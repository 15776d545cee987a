"""Traces a location of a block's output back to the points that the block and those below sample.

A block's output at a position is made of samples: each tap of each branch's deformable convolution
reads its level at one point, between pixels, and counts as much as its mask. The weight of a
sample is

    mask of the tap  x  share of the branch  x  share of the position

where the share of a branch is what the scale attention multiplies it by (its weight over the number
of branches), and that of a position is bilinear: a position of the coarser branch's output, which
is upsampled, or a pixel beside the point that a block above sampled. A block that adds its input
hears each position of it besides, with weight 1. The weight of a point is the sum over the paths
that lead to it of the product of their samples' weights. Kernels and task attention have no part
in it: it tells from where a location could hear, not what it heard. What follows the blocks, such
as the convolutions of a tower, has none either: these see the location's neighbours too.

After each block the heaviest points go on, so many as `max_points`; samples outside of a map, which
read zeros, are left out.

Shape letters: P points; K = 9 taps.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from dyhead.explanation.origins import Origin
from dyhead.layers import BlockRecord
from dyhead.layers.map_sizes import read_at_size
from dyhead.layers.spatial_attention import KERNEL_SIZE, PADDING, TAPS

MAX_POINTS = 300

Size = tuple[int, int]


class Points(NamedTuple):
    """Points of the levels that a block reads.

    Attributes:
        levels: (P,), indices, the finest level is 0.
        places: (P, 2), float64, y and x in pixels of the level: its first pixel lies at 0.
        weights: (P,), float64.
    """

    levels: Tensor
    places: Tensor
    weights: Tensor


class TracedBlock(NamedTuple):
    """The points that a location sees of the maps that a block reads.

    Attributes:
        block: index of the block, from 0.
        points: the heaviest first.
        kept: the share of the weight of all samples that was not left out here as light.
    """

    block: int
    points: Points
    kept: float


def trace(
    records: Sequence[BlockRecord], origin: Origin, block: int, max_points: int = MAX_POINTS
) -> list[TracedBlock]:
    """Trace a location back through a block and all below it.

    Args:
        records: of all blocks, of a pass with one image.
        origin: the location, on the output of the block.
        block: index of the block to begin with.
        max_points: so many points go on.

    Returns:
        for the block and for each below it, down to the first, the points of its input.
    """
    here = torch.tensor([[origin.row, origin.column]], dtype=torch.float64)
    points = Points(torch.tensor([origin.level]), here, torch.ones(1, dtype=torch.float64))
    traced = []
    for index in range(block, -1, -1):
        if not len(points.weights):  # every mask is zero
            break
        record = records[index]
        sampled = _inside(sample(record, settle(points, record.sizes)), record.sizes)
        points = _heaviest(_merged(sampled), max_points)
        total = sampled.weights.sum().item()
        traced.append(TracedBlock(index, points, points.weights.sum().item() / (total or 1)))
    return traced


def sample(record: BlockRecord, positions: Points) -> Points:
    """List what a block hears for some positions of its output: samples, and input that it adds.

    Args:
        record: of the block.
        positions: at whole pixels.

    Returns:
        the samples of all branches, those outside of their level too.
    """
    found = [positions] if record.residual else []
    for level in positions.levels.unique().tolist():
        chosen = positions.levels == level
        at, weights = positions.places[chosen].long(), positions.weights[chosen]
        found += list(_sample_level(record, level, at, weights))
    return _joined(found)


def settle(points: Points, sizes: Sequence[Size]) -> Points:
    """Share points between the four pixels around each, bilinearly, and add up those of a pixel.

    What lies outside of the level is left out: the convolutions read zeros there.
    """
    low = points.places.floor()
    part = points.places - low
    settled = []
    for down in (0, 1):
        for right in (0, 1):
            corner = torch.tensor([down, right], dtype=torch.float64)
            share = (1 - corner - part).abs().prod(1)
            settled.append(Points(points.levels, low + corner, points.weights * share))
    return _merged(_inside(_joined(settled), sizes, reach=0.5))


def _sample_level(record: BlockRecord, level: int, at: Tensor, weights: Tensor) -> Iterator[Points]:
    """Yield the samples of each branch of a level for positions (P, 2) of it."""
    last = len(record.sizes) - 1
    sources = [source for source in (level - 1, level, level + 1) if 0 <= source <= last]
    offset, mask = _offsets_of(record, level)
    for branch, source in enumerate(sources):
        passed_on = weights * _share(record, level, branch, source, len(sources))
        if source <= level:
            stride = 2 if source < level else 1
            yield _taps(source, at, passed_on, offset, mask, stride)
        elif record.coarser_offsets == "upsample_features":
            on_upsampled = settle(_taps(level, at, passed_on, offset, mask), record.sizes)
            yield _shrunk(on_upsampled, record.sizes, level)
        else:
            size = record.sizes[source]
            read = read_at_size(record.coarser_offsets, offset, mask, *size)
            here = Points(torch.full((len(at),), level), at.double(), passed_on)
            below = settle(_shrunk(here, record.sizes, level), record.sizes)
            yield _taps(source, below.places.long(), below.weights, *read)


def _offsets_of(record: BlockRecord, level: int) -> tuple[Tensor, Tensor]:
    """Return offsets (1, 18, H, W) and masks (1, 9, H, W): 0 and 1 where they are not learned."""
    if record.offsets:
        return record.offsets[level][:1].double().cpu(), record.masks[level][:1].double().cpu()
    size = record.sizes[level]
    offset = torch.zeros(1, 2 * TAPS, *size, dtype=torch.float64)
    return offset, torch.ones(1, TAPS, *size, dtype=torch.float64)


def _share(record: BlockRecord, level: int, branch: int, source: int, count: int) -> float:
    """Return what the scale attention multiplies a branch by, whatever its place in the order."""
    if not record.shares:
        return 1 / count
    if record.scale_first:
        return record.shares[source][0, 0].item() / count
    return record.shares[level][0, branch].item()


def _taps(
    source: int, at: Tensor, weights: Tensor, offset: Tensor, mask: Tensor, stride: int = 1
) -> Points:
    """List the taps of a deformable convolution at positions (P, 2): P * K samples of a level."""
    rows, columns = at.unbind(1)
    kernel = torch.arange(KERNEL_SIZE, dtype=torch.float64) - PADDING
    grid = torch.cartesian_prod(kernel, kernel)  # (K, 2)
    moved = offset[0, :, rows, columns].T.unflatten(1, (TAPS, 2))  # (P, K, 2)
    places = stride * at[:, None] + grid + moved
    masked = weights[:, None] * mask[0, :, rows, columns].T
    levels = torch.full((len(at) * TAPS,), source)
    return Points(levels, places.flatten(0, 1), masked.flatten())


def _shrunk(points: Points, sizes: Sequence[Size], level: int) -> Points:
    """Bring points of a level to where they lie on the coarser one, corners aligned."""
    ratios = [
        (small - 1) / (large - 1) if large > 1 else 0.0
        for small, large in zip(sizes[level + 1], sizes[level], strict=True)
    ]
    places = points.places * torch.tensor(ratios, dtype=torch.float64)
    return Points(points.levels + 1, places, points.weights)


def _inside(points: Points, sizes: Sequence[Size], reach: float = 1) -> Points:
    """Keep the points less than `reach` pixels outside of their level, of some weight."""
    size = torch.tensor(sizes, dtype=torch.float64)[points.levels]
    within = ((points.places > -reach) & (points.places < size - 1 + reach)).all(1)
    return _chosen(points, within & (points.weights > 0))


def _merged(points: Points) -> Points:
    """Add up the weights of points at one place."""
    keys = torch.cat([points.levels[:, None].double(), points.places], dim=1)
    places, which = keys.unique(dim=0, return_inverse=True)
    weights = torch.zeros(len(places), dtype=torch.float64).index_add(0, which, points.weights)
    return Points(places[:, 0].long(), places[:, 1:], weights)


def _heaviest(points: Points, count: int) -> Points:
    order = points.weights.argsort(descending=True, stable=True)
    return _chosen(points, order[:count])


def _chosen(points: Points, index: Tensor) -> Points:
    return Points(*(values[index] for values in points))


def _joined(parts: Sequence[Points]) -> Points:
    return Points(*(torch.cat(values) for values in zip(*parts, strict=True)))
