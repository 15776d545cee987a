"""DyHead blocks one after the other (Dai et al., CVPR 2021, figure 2)."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from dyhead.layers.block import DyHeadBlock
from dyhead.layers.options import BlockOptions


class DyHeadStack(nn.Sequential):
    """`num_blocks` blocks; the first one takes `in_channels`, every one gives `channels`.

    Without blocks, or with every attention off, it hands its features through. Input and output are
    those of `DyHeadBlock`.
    """

    def __init__(
        self,
        in_channels: int,
        channels: int,
        num_blocks: int,
        options: BlockOptions | None = None,
        recompute: bool = False,
    ) -> None:
        """Build the blocks.

        Args:
            in_channels: of every level.
            channels: of every output.
            num_blocks: 0 or more.
            options: how the blocks compute.
            recompute: keep nothing of a block for backward but its input, and compute the rest
                again there (activation checkpointing).

        Raises:
            ValueError: num_blocks is negative, or channels does not suit a block.
        """
        if num_blocks < 0:
            raise ValueError(
                f"The number of DyHead blocks is {num_blocks}: set MODEL.DYHEAD.NUM_CONVS to 0 or"
                " more."
            )
        options = options or BlockOptions()
        if not options.has_attention:
            num_blocks = 0
        inputs = [in_channels, *[channels] * num_blocks][:num_blocks]
        super().__init__(*(DyHeadBlock(count, channels, options) for count in inputs))
        self.out_channels = channels if num_blocks else in_channels
        self.recompute = recompute

    def forward(
        self, input: Mapping[str, Tensor] | Sequence[Tensor]
    ) -> Mapping[str, Tensor] | Sequence[Tensor]:
        """Run the blocks; see `DyHeadBlock.forward`."""
        for block in self:
            if self.recompute and torch.is_grad_enabled():
                # a block draws no random numbers, so there is no state of a generator to restore
                input = checkpoint(block, input, use_reentrant=False, preserve_rng_state=False)
            else:
                input = block(input)
        return input
