"""Maps brought to other sizes: offsets read at a coarser level, upsampling, widening."""

from collections.abc import Callable, Sequence
from typing import Any

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
        (N, C, height, width).
    """
    channels = offset_map.shape[1]
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


# Offsets and mask of a level, each read at the size of the coarser level.
READINGS: dict[str, tuple[Callable[..., Tensor], Callable[..., Tensor]]] = {
    "flat_read": (flat_read, flat_read),
    "crop": (crop, crop),
    "resize": (resize_offset, resize_mask),
}


def read_at_size(
    reading: str, offset: Tensor, mask: Tensor, height: int, width: int
) -> tuple[Tensor, Tensor]:
    """Read offsets and mask of a level as a map of the coarser level's size.

    Args:
        reading: a key of `READINGS`.
        offset, mask: (N, 2 * taps, H, W) and (N, taps, H, W).
        height, width: of the coarser level, at most H and W; where they are these, the values stay.

    Returns:
        (N, 2 * taps, height, width) and (N, taps, height, width).
    """
    read_offset, read_mask = READINGS[reading]
    return read_offset(offset, height, width), read_mask(mask, height, width)


def upsample(feature: Tensor, size: Sequence[int]) -> Tensor:
    """Interpolate (N, C, h, w) to (N, C, H, W) bilinearly with aligned corners, unless it is so."""
    if is_same_size(feature.shape[-2:], size):
        return feature
    if is_exported():
        return _upsample_at_any_size(feature, size)
    return F.interpolate(feature, tuple(size), mode="bilinear", align_corners=True)


def _upsample_at_any_size(feature: Tensor, size: Sequence[int]) -> Tensor:
    """Interpolate to two positions at least, of which the first is that of a single one.

    PyTorch asks whether there is more than one, and so torch.export would bind its graph to that.
    """
    larger: Any = tuple(torch.sym_max(length, 2) for length in size)
    upsampled = F.interpolate(feature, larger, mode="bilinear", align_corners=True)
    if is_same_size(larger, size):
        return upsampled
    rows, columns = (torch.arange(length, device=feature.device) for length in size)
    return upsampled.index_select(2, rows).index_select(3, columns)


def widened(feature: Tensor) -> Tensor:
    """Add a column of zeros to (N, C, H, 1); wider maps are returned as they are.

    A 3x3 convolution of stride 2 and padding 1 gives the same values for both. But its weights'
    gradient for a map of one column is taken from memory that was never written, in bfloat16 on
    CPUs (found in PyTorch 2.14).
    """
    if is_exported() or feature.shape[3] > 1:
        return feature
    return F.pad(feature, (0, 1))
