"""The base class of convolutional building blocks."""

from typing import TypeVar

from torch import nn

from .batch_norm import FrozenBatchNorm2d

BlockType = TypeVar("BlockType", bound="CNNBlockBase")


class CNNBlockBase(nn.Module):
    """A module from (N, in_channels, H, W) to (N, out_channels, H / stride, W / stride)."""

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        """Record what the block takes and gives."""
        super().__init__()
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.stride = stride

    def freeze(self: BlockType) -> BlockType:
        """Stop training the block: no parameter gets gradients, batch statistics become fixed."""
        for parameter in self.parameters():
            parameter.requires_grad = False
        FrozenBatchNorm2d.convert_frozen_batchnorm(self)
        return self
