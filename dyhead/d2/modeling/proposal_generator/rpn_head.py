"""The convolutions of the region proposal network (Faster R-CNN, arXiv:1506.01497).

Shapes: N images, C channels, H x W positions, A anchors per position, B numbers per box.
"""

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from ...config import CfgNode, configurable
from ...layers import Conv2d, ShapeSpec
from ...utils.registry import Registry
from ..anchor_generator import build_anchor_generator
from ..input_shapes import common_channels

RPN_HEAD_REGISTRY = Registry("RPN_HEAD")
RPN_HEAD_REGISTRY.__doc__ = (
    """Modules built from `(cfg, input_shape: list[ShapeSpec])`, called like `StandardRPNHead`."""
)


def build_rpn_head(cfg: CfgNode, input_shape: list[ShapeSpec]) -> nn.Module:
    """Build the head registered as `cfg.MODEL.RPN.HEAD_NAME`.

    Args:
        cfg: the whole config.
        input_shape: shape of each feature map.
    """
    return RPN_HEAD_REGISTRY.get(cfg.MODEL.RPN.HEAD_NAME)(cfg, input_shape)


@RPN_HEAD_REGISTRY.register()
class StandardRPNHead(nn.Module):
    """3 x 3 convolutions with ReLU, then one score and one set of deltas per anchor.

    The levels share it. State-dict keys: `conv` (or `conv.conv0`, `conv.conv1`, ... if there are
    several), `objectness_logits`, `anchor_deltas`.
    """

    @configurable
    def __init__(
        self,
        *,
        in_channels: int,
        num_anchors: int,
        box_dim: int = 4,
        conv_dims: Sequence[int] = (-1,),
    ) -> None:
        """Build the layers.

        Args:
            in_channels: channels of every feature map.
            num_anchors: anchors per position.
            box_dim: numbers per box.
            conv_dims: channels of each 3 x 3 convolution; -1 keeps those before it.

        Raises:
            ValueError: bad `conv_dims`.
        """
        super().__init__()
        widths = conv_widths(in_channels, conv_dims)
        convs = [
            Conv2d(before, after, kernel_size=3, padding=1, activation=nn.ReLU())
            for before, after in zip([in_channels, *widths], widths, strict=False)
        ]
        self.conv: nn.Module = convs[0] if len(convs) == 1 else named_sequence(convs)
        self.objectness_logits = nn.Conv2d(widths[-1], num_anchors, kernel_size=1)
        self.anchor_deltas = nn.Conv2d(widths[-1], num_anchors * box_dim, kernel_size=1)
        for conv in (*convs, self.objectness_logits, self.anchor_deltas):
            nn.init.normal_(conv.weight, std=0.01)
            if conv.bias is not None:
                nn.init.zeros_(conv.bias)

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: list[ShapeSpec]) -> dict[str, Any]:
        """Arguments of the constructor from a config.

        Raises:
            ValueError: the levels differ in channels or in anchors per position.
        """
        anchor_generator: Any = build_anchor_generator(cfg, input_shape)
        counts = set(anchor_generator.num_anchors)
        if len(counts) != 1:
            raise ValueError(
                "MODEL.ANCHOR_GENERATOR gives levels with different numbers of anchors per position"
                f" {anchor_generator.num_anchors}: the RPN needs the same number on all."
            )
        return {
            "in_channels": common_channels(input_shape, "MODEL.RPN.IN_FEATURES"),
            "num_anchors": counts.pop(),
            "box_dim": anchor_generator.box_dim,
            "conv_dims": cfg.MODEL.RPN.CONV_DIMS,
        }

    def forward(self, features: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """Map (N, C, H, W) of each level to (N, A, H, W) logits and (N, A * B, H, W) deltas."""
        hidden = [self.conv(feature) for feature in features]
        logits = [self.objectness_logits(level) for level in hidden]
        return logits, [self.anchor_deltas(level) for level in hidden]


def conv_widths(in_channels: int, conv_dims: Sequence[int]) -> list[int]:
    """Channels after each convolution, with -1 replaced."""
    widths: list[int] = []
    for width in conv_dims:
        before = widths[-1] if widths else in_channels
        widths.append(before if width == -1 else width)
    if not widths or min(widths) <= 0:
        raise ValueError(
            f"MODEL.RPN.CONV_DIMS={list(conv_dims)}: give one or more numbers of channels above 0,"
            " or -1 for as many as before."
        )
    return widths


def named_sequence(convs: list[Conv2d]) -> nn.Sequential:
    """The convolutions one after the other, named `conv0`, `conv1`, ..."""
    sequence = nn.Sequential()
    for index, conv in enumerate(convs):
        sequence.add_module(f"conv{index}", conv)
    return sequence
