"""The base class of backbones."""

from abc import ABCMeta, abstractmethod
from typing import Any

from torch import nn

from ...layers import ShapeSpec


class Backbone(nn.Module, metaclass=ABCMeta):
    """A network from an image batch to a dict of named feature maps.

    A subclass sets `_out_features` (names), `_out_feature_channels` and `_out_feature_strides` (by
    name), or overrides `output_shape`.
    """

    _out_features: list[str]
    _out_feature_channels: dict[str, int]
    _out_feature_strides: dict[str, int]

    @abstractmethod
    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Map images (N, C, H, W) to a dict from a name such as "res4" to a feature map."""

    @property
    def size_divisibility(self) -> int:
        """Number that the images' height and width must be multiples of; 0 if any size will do."""
        return 0

    @property
    def padding_constraints(self) -> dict[str, int]:
        """More wishes for the padding; see `ImageList.from_tensors`."""
        return {}

    def output_shape(self) -> dict[str, ShapeSpec]:
        """Channels and stride of every feature map, by name."""
        return {
            name: ShapeSpec(
                channels=self._out_feature_channels[name], stride=self._out_feature_strides[name]
            )
            for name in self._out_features
        }
