"""Task-aware attention on proposals, in the place of a box head's fully connected layers.

DyHead (Dai et al., CVPR 2021), section 3.4 and figure 2c: a two-stage detector has scale- and
spatial-aware attention on the pyramid, before RoI pooling, and task-aware attention after it.
docs/semantics.md says what the paper leaves open, and what was chosen.
Shapes: R proposals, C channels, S x S positions of a pooled proposal.
"""

import logging
from typing import Any

from fvcore.nn import weight_init
from torch import Tensor, nn

from dyhead.d2.config import CfgNode, configurable
from dyhead.d2.layers import ShapeSpec
from dyhead.d2.modeling.roi_heads import ROI_BOX_HEAD_REGISTRY
from dyhead.errors import UserError
from dyhead.layers import DyReLU

logger = logging.getLogger(__name__)

NORM_GROUPS = 16  # as in a DyHead block


class TaskAwareBlock(nn.Module):
    """A 3x3 convolution with stride 2, GroupNorm and task-aware attention.

    A DyReLU treats every channel by itself and sees no positions; the convolution mixes both.
    """

    def __init__(self, channels: int, hard_sigmoid: str = "official") -> None:
        """Build a block; channels is a multiple of the 16 groups."""
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, stride=2, padding=1, bias=False)
        self.norm = nn.GroupNorm(NORM_GROUPS, channels)
        self.task_attention = DyReLU(channels, hard_sigmoid=hard_sigmoid)
        weight_init.c2_msra_fill(self.conv)

    def forward(self, x: Tensor) -> Tensor:
        """Compute (R, C, ceil(H / 2), ceil(W / 2)) from (R, C, H, W)."""
        return self.task_attention(self.norm(self.conv(x)))


@ROI_BOX_HEAD_REGISTRY.register()
class TaskAwareBoxHead(nn.Module):
    """Blocks of task-aware attention, whose last and smallest map is the proposal's vector.

    At 256 channels and 7 x 7 positions, the two blocks have 1,346,688 parameters and cost 12.0 M
    multiply-adds per proposal, and the vector has 256 * 2 * 2 = 1024 values. The two fully
    connected layers of 1024 that they replace: 13,895,680 parameters, 13.9 M, 1024 values.
    """

    @configurable
    def __init__(
        self, input_shape: ShapeSpec, *, num_blocks: int = 2, hard_sigmoid: str = "official"
    ) -> None:
        """Build the blocks.

        Args:
            input_shape: channels, height and width of a pooled proposal; the channels stay.
            num_blocks: each of them halves height and width, rounded up.
            hard_sigmoid: of the DyReLUs, "official" or "paper", see `BlockOptions`.

        Raises:
            UserError: there is no block, or the channels do not fall into GroupNorm's groups.
        """
        super().__init__()
        channels, height, width = _checked_shape(input_shape)
        if num_blocks < 1:
            raise UserError(
                f"MODEL.TASK_AWARE_BOX_HEAD.NUM_BLOCKS is {num_blocks}: set it to 1 or more."
            )
        self.blocks = nn.Sequential(
            *(TaskAwareBlock(channels, hard_sigmoid) for _ in range(num_blocks))
        )
        for _ in range(num_blocks):
            height, width = (height + 1) // 2, (width + 1) // 2
        self._out_channels = channels * height * width

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: ShapeSpec) -> dict[str, Any]:
        """Read the arguments of the constructor from `cfg`."""
        _warn_of_task_attention_on_pyramid(cfg)
        return {
            "input_shape": input_shape,
            "num_blocks": cfg.MODEL.TASK_AWARE_BOX_HEAD.NUM_BLOCKS,
            "hard_sigmoid": cfg.MODEL.DYHEAD.HARD_SIGMOID,
        }

    @property
    def output_shape(self) -> ShapeSpec:
        """Shape whose `channels` are the vector's length."""
        return ShapeSpec(channels=self._out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """Turn pooled proposals (R, C, S, S) into vectors (R, output channels); R may be 0."""
        return self.blocks(x).flatten(1)


def _checked_shape(shape: ShapeSpec) -> tuple[int, int, int]:
    if not (shape.channels and shape.height and shape.width):
        raise ValueError(f"TaskAwareBoxHead needs channels, height and width, got {shape}.")
    if shape.channels % NORM_GROUPS:
        raise UserError(
            f"TaskAwareBoxHead needs a multiple of {NORM_GROUPS} channels, the pooled features have"
            f" {shape.channels}: change MODEL.DYHEAD.CHANNELS (MODEL.FPN.OUT_CHANNELS where there"
            " is no DyHead block)."
        )
    return shape.channels, shape.height, shape.width


def _warn_of_task_attention_on_pyramid(cfg: CfgNode) -> None:
    """Warn of a combination that is neither the official form nor the paper's figure 2c."""
    dyhead = cfg.MODEL.DYHEAD
    if "dyhead" in cfg.MODEL.BACKBONE.NAME and dyhead.NUM_CONVS > 0 and dyhead.TASK_AWARE:
        logger.warning(
            "Task-aware attention stands both on the pyramid and in the box head: set"
            " MODEL.DYHEAD.TASK_AWARE False for the paper's figure 2c."
        )
