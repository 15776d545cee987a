"""Readings of a map of offsets or masks by a convolution whose output is smaller."""

import torch
import torch.nn.functional as F
from torch import Tensor

from dyhead.ops.recording import is_exported, is_same_size


def flat_read(offset_map: Tensor, height: int, width: int) -> Tensor:
    """Read the first `channels * height * width` values of each sample as a smaller map.

    The official DyHead convolves the coarser level with the current level's offsets and masks. That
    convolution's output is smaller than the offset map, and the official kernel walks the map's
    memory with the output's height and width: what it sees is the beginning of each sample's NCHW
    buffer, cut and refolded. It is neither a crop nor a resize, but the released weights were
    trained with it, so it is part of the model.

    Args:
        offset_map: (N, C, H, W), in any memory format; the reading order is always that of NCHW.
        height, width: size of the map to read, with height * width <= H * W.

    Returns:
        (N, C, height, width); for a map of that very size, the same values.

    Raises:
        ValueError: the map holds fewer positions than are to be read.
    """
    batch, channels, map_height, map_width = offset_map.shape
    if is_same_size((map_height, map_width), (height, width)):
        return offset_map
    if not is_exported() and height * width > map_height * map_width:
        raise ValueError(
            f"Cannot read a {height} x {width} map from offsets of {map_height} x {map_width}:"
            " the flat read only shrinks, so levels must be ordered from finest to coarsest."
        )
    if torch.compiler.is_compiling():
        # A compiler takes what follows a group norm for contiguous; the graph has to make it so.
        offset_map = offset_map.clone(memory_format=torch.contiguous_format)
    flat = offset_map.flatten(1).narrow(1, 0, channels * height * width)
    return flat.unflatten(1, (channels, height, width))


def crop(offset_map: Tensor, height: int, width: int) -> Tensor:
    """Keep the top left `height` x `width` positions of a map (N, C, H, W)."""
    return offset_map[..., :height, :width]


def resize_mask(mask: Tensor, height: int, width: int) -> Tensor:
    """Resize (N, C, H, W) bilinearly, cell on cell: (N, C, height, width)."""
    return F.interpolate(mask, (height, width), mode="bilinear", align_corners=False)


def resize_offset(offset: Tensor, height: int, width: int) -> Tensor:
    """Resize a field of offsets to a coarser grid, lengths included.

    Args:
        offset: (N, 2 * taps, H, W), interleaved (dy, dx) in pixels of the H x W grid.
        height, width: size of the coarser grid.

    Returns:
        (N, 2 * taps, height, width), in pixels of the coarser grid.
    """
    dy, dx = resize_mask(offset, height, width).unflatten(1, (-1, 2)).unbind(2)
    ratios = height / offset.shape[2], width / offset.shape[3]
    return torch.stack((dy * ratios[0], dx * ratios[1]), dim=2).flatten(1, 2)
