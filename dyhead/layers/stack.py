"""DyHead blocks one after the other (Dai et al., CVPR 2021, figure 2)."""

from torch import nn

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
    ) -> None:
        """Build the blocks.

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
