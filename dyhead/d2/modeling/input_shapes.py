"""Finding the features that a config names among those that a backbone gives."""

from collections.abc import Mapping, Sequence

from ..layers import ShapeSpec


def named_shapes(
    input_shape: Mapping[str, ShapeSpec], names: Sequence[str], key: str
) -> list[ShapeSpec]:
    """Shapes of the features `names`, which the config key `key` holds.

    Raises:
        ValueError: no names, or one that the backbone does not give.
    """
    if not names or any(name not in input_shape for name in names):
        raise ValueError(
            f"{key}={list(names)} must be some of what the backbone gives: {', '.join(input_shape)}"
        )
    return [input_shape[name] for name in names]


def common_channels(shapes: Sequence[ShapeSpec], key: str) -> int:
    """Return the number of channels that all features have.

    Raises:
        ValueError: they differ, or are unknown.
    """
    channels = {shape.channels for shape in shapes}
    common = channels.pop() if len(channels) == 1 else None
    if common is None:
        given = [shape.channels for shape in shapes]
        raise ValueError(f"{key} names features of {given} channels: they must be the same.")
    return common
