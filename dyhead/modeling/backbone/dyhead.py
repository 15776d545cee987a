"""DyHead as a Detectron2 backbone: a feature pyramid followed by DyHead blocks."""

from torch import Tensor

from dyhead.d2.modeling import Backbone
from dyhead.layers import DyHeadStack


class DyHead(Backbone):
    """Wrap any feature pyramid; its levels come out under the same names and strides."""

    def __init__(self, fpn: Backbone, channels: int, num_blocks: int) -> None:
        """Wrap `fpn`.

        Args:
            fpn: gives its levels finest first, all with the same number of channels, each half
                the size of the one before.
            channels: of every output level; without blocks the pyramid's own channels stay.
            num_blocks: DyHead blocks, 0 or more.

        Raises:
            ValueError: the pyramid's channels differ, or a number does not suit a block.
        """
        super().__init__()
        shapes = fpn.output_shape()
        in_channels = {shape.channels for shape in shapes.values()}
        if len(in_channels) != 1:
            raise ValueError(
                f"DyHead needs levels with one number of channels, the pyramid gives {shapes}."
            )
        self.fpn = fpn
        self.blocks = DyHeadStack(in_channels.pop(), channels, num_blocks)
        self._out_features = list(shapes)
        self._out_feature_strides = {name: shape.stride for name, shape in shapes.items()}
        self._out_feature_channels = dict.fromkeys(shapes, self.blocks.out_channels)

    @property
    def size_divisibility(self) -> int:
        """The coarsest level's stride: images padded to it make every level half the finer one."""
        return self._out_feature_strides[self._out_features[-1]]

    @property
    def padding_constraints(self) -> dict[str, int]:
        """What else the pyramid wants of the padding."""
        return self.fpn.padding_constraints

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Compute from (N, 3, H, W) the levels (N, channels, H / stride, W / stride), by name."""
        return self.blocks(self.fpn(images))
