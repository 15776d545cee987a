"""Names, numbers of blocks and arguments of the stages of a ResNet."""

from collections.abc import Sequence
from typing import Any

BLOCKS_PER_STAGE = {
    18: (2, 2, 2, 2),
    34: (3, 4, 6, 3),
    50: (3, 4, 6, 3),
    101: (3, 4, 23, 3),
    152: (3, 8, 36, 3),
}
STAGE_NAMES = ("res2", "res3", "res4", "res5")


def number_of_stages(out_features: Sequence[str] | None, available: int) -> int:
    """Count the stages that lead up to the last of `out_features`; all of them for None."""
    if out_features is None or "linear" in out_features:
        return available
    last = max((STAGE_NAMES.index(f) + 1 for f in out_features if f in STAGE_NAMES), default=0)
    return min(last, available)


def blocks_of_depth(depth: int) -> tuple[int, ...]:
    """Blocks of each of the four stages."""
    if depth not in BLOCKS_PER_STAGE:
        depths = ", ".join(map(str, BLOCKS_PER_STAGE))
        raise ValueError(f"There is no ResNet of depth {depth}: use one of {depths}.")
    return BLOCKS_PER_STAGE[depth]


def arguments_per_block(num_blocks: int, kwargs: dict[str, Any]) -> list[dict[str, Any]]:
    """Keyword arguments of each block, from shared ones and lists named `*_per_block`."""
    shared = {name: value for name, value in kwargs.items() if not name.endswith("_per_block")}
    arguments = [dict(shared) for _ in range(num_blocks)]
    for name in kwargs.keys() - shared.keys():
        single = name.removesuffix("_per_block")
        if len(kwargs[name]) != num_blocks or single in shared:
            raise ValueError(
                f"'{name}' needs one value for each of {num_blocks} blocks, without '{single}'."
            )
        for block_arguments, value in zip(arguments, kwargs[name], strict=True):
            block_arguments[single] = value
    return arguments
