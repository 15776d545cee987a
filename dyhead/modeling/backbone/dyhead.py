"""DyHead as a Detectron2 backbone: a feature pyramid followed by DyHead blocks."""

from torch import Tensor

from dyhead.d2.config import CfgNode
from dyhead.d2.modeling import Backbone
from dyhead.layers import BlockOptions, DyHeadStack
from dyhead.layers.spatial_attention import SpatialAttention


class DyHead(Backbone):
    """Wrap any feature pyramid; its levels come out under the same names and strides."""

    def __init__(
        self,
        fpn: Backbone,
        channels: int,
        num_blocks: int,
        options: BlockOptions | None = None,
        size_divisibility: int = 0,
        recompute: bool = False,
    ) -> None:
        """Wrap `fpn`.

        Args:
            fpn: gives its levels finest first, all with the same number of channels, each half
                the size of the one before.
            channels: of every output level; without blocks the pyramid's own channels stay.
            num_blocks: DyHead blocks, 0 or more.
            options: how the blocks compute.
            size_divisibility: what images are padded to a multiple of; 0 stands for the coarsest
                level's stride, which makes every level exactly half the finer one.
            recompute: compute the inside of each block again in the backward pass.

        Raises:
            ValueError: the pyramid's channels differ, or a number does not suit it or a block.
        """
        super().__init__()
        shapes = fpn.output_shape()
        in_channels = {shape.channels for shape in shapes.values()}
        if len(in_channels) != 1:
            raise ValueError(
                f"DyHead needs levels with one number of channels, the pyramid gives {shapes}."
            )
        self.fpn = fpn
        self.blocks = DyHeadStack(in_channels.pop(), channels, num_blocks, options, recompute)
        if len(shapes) == 1:
            _freeze_neighbours(self.blocks)
        self._out_features = list(shapes)
        self._out_feature_strides = {name: shape.stride for name, shape in shapes.items()}
        self._out_feature_channels = dict.fromkeys(shapes, self.blocks.out_channels)
        coarsest_stride = self._out_feature_strides[self._out_features[-1]]
        self._size_divisibility = size_divisibility or coarsest_stride
        if self._size_divisibility % max(1, fpn.size_divisibility):
            raise ValueError(
                f"MODEL.DYHEAD.SIZE_DIVISIBILITY is {size_divisibility}: the pyramid needs a"
                f" multiple of {fpn.size_divisibility}, or 0."
            )

    @property
    def size_divisibility(self) -> int:
        """Number that height and width of the images must be a multiple of."""
        return self._size_divisibility

    @property
    def padding_constraints(self) -> dict[str, int]:
        """Further wishes of the pyramid for the padding."""
        return self.fpn.padding_constraints

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Compute from (N, 3, H, W) the levels (N, channels, H / stride, W / stride), by name."""
        return self.blocks(self.fpn(images))


def _freeze_neighbours(blocks: DyHeadStack) -> None:
    """Take the branches of a finer and of a coarser level out of the training.

    A level alone has no neighbours: processes would wait for gradients that never come.
    """
    for module in blocks.modules():
        if isinstance(module, SpatialAttention):
            module.finer.requires_grad_(False)
            module.coarser.requires_grad_(False)


def block_options(cfg: CfgNode) -> BlockOptions:
    """Read the options of the blocks from MODEL.DYHEAD.

    Raises:
        ValueError: a value is none of the choices.
    """
    dyhead = cfg.MODEL.DYHEAD
    return BlockOptions(
        scale_aware=dyhead.SCALE_AWARE,
        spatial_aware=dyhead.SPATIAL_AWARE,
        task_aware=dyhead.TASK_AWARE,
        scale_attention=dyhead.SCALE_ATTENTION,
        spatial_attention=dyhead.SPATIAL_ATTENTION,
        task_attention=dyhead.TASK_ATTENTION,
        order=dyhead.ORDER,
        coarser_offsets=dyhead.COARSER_OFFSETS,
        hard_sigmoid=dyhead.HARD_SIGMOID,
        bias=dyhead.BIAS,
        offset_init=dyhead.OFFSET_INIT,
        residual=dyhead.RESIDUAL,
        fused=dyhead.FUSED,
    )


def build_dyhead(cfg: CfgNode, fpn: Backbone) -> DyHead:
    """Put the DyHead that `cfg.MODEL.DYHEAD` describes on top of `fpn`."""
    dyhead = cfg.MODEL.DYHEAD
    padded_to = dyhead.SIZE_DIVISIBILITY
    if not cfg.MODEL.PADDING_IN_STATISTICS:
        padded_to = fpn.size_divisibility
    return DyHead(
        fpn,
        channels=dyhead.CHANNELS,
        num_blocks=dyhead.NUM_CONVS,
        options=block_options(cfg),
        size_divisibility=padded_to,
        recompute=dyhead.CHECKPOINT,
    )
