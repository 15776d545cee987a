"""How the official DyHead kernel reads offsets that are larger than its output."""

from torch import Tensor


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
    if (map_height, map_width) == (height, width):
        return offset_map
    if height * width > map_height * map_width:
        raise ValueError(
            f"Cannot read a {height} x {width} map from offsets of {map_height} x {map_width}:"
            " the flat read only shrinks, so levels must be ordered from finest to coarsest."
        )
    flat = offset_map.flatten(1)[:, : channels * height * width]
    return flat.reshape(batch, channels, height, width)
