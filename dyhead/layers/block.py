"""One DyHead block: scale-, spatial- and task-aware attention (Dai et al., CVPR 2021)."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar, overload

import torch
from torch import Tensor, nn

from dyhead.layers.dispatch import Execution, choose_execution
from dyhead.layers.fused_attention import attend_fused
from dyhead.layers.options import BlockOptions
from dyhead.layers.scale_attention import ScaleAttention
from dyhead.layers.spatial_attention import NORM_GROUPS, SpatialAttention
from dyhead.layers.task_attention import DyReLU

# The attentions by the names that `BlockOptions` takes: a variant needs an entry here, and then
# runs plainly. They are built with their channels (spatial attention: of its input and of its
# output) and all options. A block calls spatial attention with the levels and the index of one, for
# a tuple of branches of that level's size; scale attention with such branches, for their weighted
# mean; and task attention with that.
SPATIAL_ATTENTIONS: dict[str, Callable[[int, int, BlockOptions], Any]] = {
    "SpatialAttention": SpatialAttention
}
SCALE_ATTENTIONS: dict[str, Callable[[int, BlockOptions], Any]] = {
    "ScaleAttention": lambda channels, options: ScaleAttention(channels, options.hard_sigmoid)
}
TASK_ATTENTIONS: dict[str, Callable[[int, BlockOptions], Any]] = {
    "DyReLU": lambda channels, options: DyReLU(channels, hard_sigmoid=options.hard_sigmoid)
}

Builder = TypeVar("Builder")


class DyHeadBlock(nn.Module):
    """The three attentions on every level of a feature pyramid."""

    def __init__(
        self, in_channels: int, out_channels: int, options: BlockOptions | None = None
    ) -> None:
        """Build a block.

        Args:
            in_channels: channels of every level.
            out_channels: channels of every output, a multiple of GroupNorm's 16 groups.
            options: how it computes; by default as the official code does.

        Raises:
            ValueError: out_channels is no such multiple, or an attention is unknown.
        """
        super().__init__()
        if out_channels < 1 or out_channels % NORM_GROUPS:
            raise ValueError(
                f"A DyHead block's channels must be a multiple of {NORM_GROUPS}, got"
                f" {out_channels}: change MODEL.DYHEAD.CHANNELS."
            )
        options = options or BlockOptions()
        self.fused = options.fused
        self.residual = options.residual and in_channels == out_channels
        self.scale_first = options.order == "scale_spatial_task"
        build_spatial = _named(SPATIAL_ATTENTIONS, options.spatial_attention, "SPATIAL_ATTENTION")
        build_scale = _named(SCALE_ATTENTIONS, options.scale_attention, "SCALE_ATTENTION")
        build_task = _named(TASK_ATTENTIONS, options.task_attention, "TASK_ATTENTION")
        scored_channels = in_channels if self.scale_first else out_channels
        self.spatial_attention = build_spatial(in_channels, out_channels, options)
        self.scale_attention = (
            build_scale(scored_channels, options) if options.scale_aware else None
        )
        self.task_attention = build_task(out_channels, options) if options.task_aware else nn.ReLU()

    @overload
    def forward(self, features: Mapping[str, Tensor]) -> dict[str, Tensor]: ...

    @overload
    def forward(self, features: Sequence[Tensor]) -> list[Tensor]: ...

    def forward(
        self, features: Mapping[str, Tensor] | Sequence[Tensor]
    ) -> dict[str, Tensor] | list[Tensor]:
        """Attend to every level.

        Args:
            features: (N, C, H_i, W_i) per level, finest first, each half the size of the one
                before (rounded up); by name, or a plain list.

        Returns:
            (N, O, H_i, W_i) per level, by the same names, or a list.

        Raises:
            ValueError: these are no levels, or their sizes do not fit.
        """
        if isinstance(features, Mapping):
            return dict(zip(features, self(list(features.values())), strict=True))
        _check_levels(features)
        attended = self._attend(features)
        if not self.residual:
            return attended
        return [level + result for level, result in zip(features, attended, strict=True)]

    def _attend(self, features: Sequence[Tensor]) -> list[Tensor]:
        scale = self.scale_attention
        if self.scale_first and scale is not None:
            features = [scale([level]) for level in features]
            scale = None
        attentions = self.spatial_attention, scale, self.task_attention
        execution = choose_execution(self.fused, attentions)
        if execution is Execution.PLAIN:
            return [_attend_plainly(features, i, *attentions) for i in range(len(features))]
        return attend_fused(features, attentions, execution)


def _attend_plainly(
    levels: Sequence[Tensor], index: int, spatial: Any, scale: Any, task: Any
) -> Tensor:
    """Attend to one level, one module after the other."""
    branches = spatial(levels, index)
    return task(torch.stack(branches).mean(dim=0) if scale is None else scale(branches))


def _check_levels(features: Sequence[Tensor]) -> None:
    if isinstance(features, Tensor):
        raise ValueError(
            "A DyHead block takes a list or a dict of levels, and got one tensor"
            f" {tuple(features.shape)}: give [tensor]."
        )
    if not features or any(level.dim() != 4 for level in features):
        shapes = ", ".join(str(tuple(level.shape)) for level in features)
        raise ValueError(
            f"A DyHead block takes one or more levels (N, C, H, W), got {shapes or 'none'}."
        )


def _named(table: Mapping[str, Builder], name: str, key: str) -> Builder:
    if name not in table:
        raise ValueError(f"MODEL.DYHEAD.{key} {name!r} is unknown: use one of {', '.join(table)}.")
    return table[name]
