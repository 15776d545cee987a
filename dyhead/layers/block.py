"""One DyHead block: scale-, spatial- and task-aware attention (Dai et al., CVPR 2021)."""

from collections.abc import Mapping, Sequence
from typing import overload

import torch
from torch import Tensor, nn

from dyhead.layers.fused_attention import attend, parts_of_pyramid
from dyhead.layers.options import BlockOptions
from dyhead.layers.scale_attention import ScaleAttention
from dyhead.layers.spatial_attention import NORM_GROUPS, SpatialAttention
from dyhead.layers.task_attention import DyReLU
from dyhead.ops.recording import is_exported


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
            ValueError: out_channels is no such multiple.
        """
        super().__init__()
        if out_channels < 1 or out_channels % NORM_GROUPS:
            raise ValueError(
                f"A DyHead block's channels must be a multiple of {NORM_GROUPS}, got"
                f" {out_channels}: change MODEL.DYHEAD.CHANNELS."
            )
        options = options or BlockOptions()
        self.fused = options.fused
        self.scale_first = options.order == "scale_spatial_task"
        self.spatial_attention = SpatialAttention(in_channels, out_channels, options)
        self.scale_attention: ScaleAttention | None = None
        if options.scale_aware:
            scored_channels = in_channels if self.scale_first else out_channels
            self.scale_attention = ScaleAttention(scored_channels, options.hard_sigmoid)
        self.task_attention: nn.Module = nn.ReLU()
        if options.task_aware:
            self.task_attention = DyReLU(out_channels, hard_sigmoid=options.hard_sigmoid)

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
            ValueError: the levels' sizes do not fit.
        """
        if isinstance(features, Mapping):
            return dict(zip(features, self(list(features.values())), strict=True))
        if self.scale_first and self.scale_attention is not None:
            features = [level * self.scale_attention.weight(level) for level in features]
        # A trace shows the operators that were written, not the function that fuses them.
        if self.fused and not torch.jit.is_tracing():
            return self._attend_fused(features)
        return [self._attend(features, index) for index in range(len(features))]

    def _attend_fused(self, levels: Sequence[Tensor]) -> list[Tensor]:
        """`_attend` for every level, its attentions after the convolutions fused."""
        sizes = [(level.shape[2], level.shape[3]) for level in levels]
        parts = parts_of_pyramid(levels)
        prepared = [_prepare(level) for level in levels]
        convolved = self.spatial_attention.convolve(prepared, parts)
        scale = None if self.scale_first else self.scale_attention
        return attend(convolved, parts, sizes, self.spatial_attention, scale, self.task_attention)

    def _attend(self, levels: Sequence[Tensor], index: int) -> Tensor:
        branches = self.spatial_attention(levels, index)
        if self.scale_attention is None or self.scale_first:
            return self.task_attention(torch.stack(branches).mean(dim=0))
        return self.task_attention(self.scale_attention(branches))


def _prepare(level: Tensor) -> Tensor:
    """Bring a level to the convolutions' type and layout, once for all that read it."""
    dtype, device_type = level.dtype, level.device.type
    if dtype != torch.float64 and torch.is_autocast_enabled(device_type):
        dtype = torch.get_autocast_dtype(device_type)
    if is_exported():
        return level.to(dtype)
    return level.to(dtype, memory_format=torch.channels_last)
