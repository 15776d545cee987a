"""Layers between the pooled features of a box and its predictions.

Shapes: R boxes, C channels, H x W positions.
"""

import math
from collections.abc import Sequence
from typing import Any

import fvcore.nn.weight_init as weight_init
from torch import nn

from ...config import CfgNode, configurable
from ...layers import Conv2d, ShapeSpec, get_norm
from ...utils.registry import Registry

ROI_BOX_HEAD_REGISTRY = Registry("ROI_BOX_HEAD")
ROI_BOX_HEAD_REGISTRY.__doc__ = (
    """Modules with an `output_shape`, built from `(cfg, input_shape: ShapeSpec)`."""
)


def build_box_head(cfg: CfgNode, input_shape: ShapeSpec) -> nn.Module:
    """Build the head registered as `cfg.MODEL.ROI_BOX_HEAD.NAME`.

    Args:
        cfg: the whole config.
        input_shape: shape of a box's pooled features.
    """
    return ROI_BOX_HEAD_REGISTRY.get(cfg.MODEL.ROI_BOX_HEAD.NAME)(cfg, input_shape)


@ROI_BOX_HEAD_REGISTRY.register()
class FastRCNNConvFCHead(nn.Sequential):
    """3 x 3 convolutions, then fully connected layers, each followed by ReLU.

    Maps (R, C, H, W) to (R, output_shape.channels), or to maps without fully connected layers.
    State-dict keys: `conv1`, `conv2`, ..., `fc1`, `fc2`, ...
    """

    @configurable
    def __init__(
        self,
        input_shape: ShapeSpec,
        *,
        conv_dims: Sequence[int],
        fc_dims: Sequence[int],
        conv_norm: str = "",
    ) -> None:
        """Build the layers.

        Args:
            input_shape: channels, height and width of the pooled features.
            conv_dims: channels of each convolution.
            fc_dims: width of each fully connected layer.
            conv_norm: what `get_norm` takes, for the convolutions.

        Raises:
            ValueError: no layers.
        """
        super().__init__()
        if not conv_dims and not fc_dims:
            raise ValueError(
                "The box head has no layers: set MODEL.ROI_BOX_HEAD.NUM_CONV or NUM_FC above 0."
            )
        self._output_shape = input_shape
        for index, width in enumerate(conv_dims, 1):
            self._add_conv(f"conv{index}", width, conv_norm)
        if fc_dims:
            self.add_module("flatten", nn.Flatten())
        for index, width in enumerate(fc_dims, 1):
            self._add_fc(index, width)
        layers = list(self.children())  # for subclasses; lists add no keys to the state
        self.conv_norm_relus = [layer for layer in layers if isinstance(layer, Conv2d)]
        self.fcs = [layer for layer in layers if isinstance(layer, nn.Linear)]
        # After building: equal seeds then give the weights that Detectron2 starts from.
        for layer in self.children():
            if isinstance(layer, Conv2d):
                weight_init.c2_msra_fill(layer)
            elif isinstance(layer, nn.Linear):
                weight_init.c2_xavier_fill(layer)

    def _add_conv(self, name: str, width: int, norm: str) -> None:
        shape = self._output_shape
        conv = Conv2d(
            shape.channels,
            width,
            kernel_size=3,
            padding=1,
            bias=not norm,
            norm=get_norm(norm, width),
            activation=nn.ReLU(),
        )
        self.add_module(name, conv)
        self._output_shape = ShapeSpec(channels=width, height=shape.height, width=shape.width)

    def _add_fc(self, index: int, width: int) -> None:
        self.add_module(f"fc{index}", nn.Linear(flat_size(self._output_shape), width))
        self.add_module(f"fc_relu{index}", nn.ReLU())
        self._output_shape = ShapeSpec(channels=width)

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: ShapeSpec) -> dict[str, Any]:
        """Arguments of the constructor from a config."""
        head = cfg.MODEL.ROI_BOX_HEAD
        return {
            "input_shape": input_shape,
            "conv_dims": [head.CONV_DIM] * head.NUM_CONV,
            "fc_dims": [head.FC_DIM] * head.NUM_FC,
            "conv_norm": head.NORM,
        }

    @property
    def output_shape(self) -> ShapeSpec:
        """Return the shape of the features of each box."""
        return self._output_shape


def flat_size(shape: ShapeSpec) -> int:
    """Count the numbers in a map of this shape; an unknown height or width counts as 1."""
    return math.prod((shape.channels or 0, shape.height or 1, shape.width or 1))
