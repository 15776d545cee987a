"""One DyHead block: spatial-, then scale-, then task-aware attention (Dai et al., CVPR 2021)."""

from collections.abc import Mapping, Sequence
from typing import overload

from torch import Tensor, nn

from dyhead.layers.scale_attention import ScaleAttention
from dyhead.layers.spatial_attention import NORM_GROUPS, SpatialAttention
from dyhead.layers.task_attention import DyReLU


class DyHeadBlock(nn.Module):
    """The three attentions in the official code's order, on every level of a feature pyramid."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        """Build a block.

        Args:
            in_channels: channels of every level.
            out_channels: channels of every output, a multiple of GroupNorm's 16 groups.

        Raises:
            ValueError: out_channels is no such multiple.
        """
        super().__init__()
        if out_channels < 1 or out_channels % NORM_GROUPS:
            raise ValueError(
                f"A DyHead block's channels must be a multiple of {NORM_GROUPS}, got"
                f" {out_channels}: change MODEL.DYHEAD.CHANNELS."
            )
        self.spatial_attention = SpatialAttention(in_channels, out_channels)
        self.scale_attention = ScaleAttention(out_channels)
        self.task_attention = DyReLU(out_channels)

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
        return [self._attend(features, index) for index in range(len(features))]

    def _attend(self, levels: Sequence[Tensor], index: int) -> Tensor:
        branches = self.spatial_attention(levels, index)
        return self.task_attention(self.scale_attention(branches))
