"""Anchor boxes over feature maps."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ..config import CfgNode, configurable
from ..layers import ShapeSpec
from ..structures import Boxes
from ..utils.registry import Registry

ANCHOR_GENERATOR_REGISTRY = Registry("ANCHOR_GENERATOR")
ANCHOR_GENERATOR_REGISTRY.__doc__ = """Modules built from `(cfg, input_shape: list[ShapeSpec])`."""


def build_anchor_generator(cfg: CfgNode, input_shape: list[ShapeSpec]) -> nn.Module:
    """Build the generator registered as `cfg.MODEL.ANCHOR_GENERATOR.NAME`.

    Args:
        cfg: the whole config.
        input_shape: one spec with a stride per feature map.
    """
    return ANCHOR_GENERATOR_REGISTRY.get(cfg.MODEL.ANCHOR_GENERATOR.NAME)(cfg, input_shape)


@ANCHOR_GENERATOR_REGISTRY.register()
class DefaultAnchorGenerator(nn.Module):
    """The same anchors of several sizes and shapes at every position (arXiv:1506.01497)."""

    box_dim: torch.jit.Final[int] = 4

    @configurable
    def __init__(
        self,
        *,
        sizes: Sequence[Any],
        aspect_ratios: Sequence[Any],
        strides: Sequence[int],
        offset: float = 0.5,
    ) -> None:
        """Compute the anchors of one position of each feature map.

        Args:
            sizes: square roots of the anchors' areas in pixels: one list for each feature map,
                or one list for all of them.
            aspect_ratios: heights divided by widths, in either form as well.
            strides: pixels per position of each feature map.
            offset: where the first anchor's centre lies, as a share of the stride; in [0, 1).

        Raises:
            ValueError: `offset` is out of range, or a list has the wrong length.
        """
        super().__init__()
        if not 0.0 <= offset < 1.0:
            raise ValueError(f"MODEL.ANCHOR_GENERATOR.OFFSET is {offset}: use a value in [0, 1).")
        self.strides = list(strides)
        self.num_features = len(self.strides)
        self.offset = offset
        sizes = one_list_per_feature(sizes, self.num_features, "SIZES")
        ratios = one_list_per_feature(aspect_ratios, self.num_features, "ASPECT_RATIOS")
        for index, (own_sizes, own_ratios) in enumerate(zip(sizes, ratios, strict=True)):
            anchors = self.generate_cell_anchors(own_sizes, own_ratios)
            self.register_buffer(f"cell_anchors_{index}", anchors, persistent=False)

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: list[ShapeSpec]) -> dict[str, Any]:
        """Arguments of the constructor from a config."""
        return {
            "sizes": cfg.MODEL.ANCHOR_GENERATOR.SIZES,
            "aspect_ratios": cfg.MODEL.ANCHOR_GENERATOR.ASPECT_RATIOS,
            "strides": [shape.stride for shape in input_shape],
            "offset": cfg.MODEL.ANCHOR_GENERATOR.OFFSET,
        }

    @property
    def cell_anchors(self) -> list[Tensor]:
        """(A, 4) anchors around the origin for each feature map."""
        found: list[Tensor] = []
        for name, anchors in self.named_buffers():  # torch.jit knows no other way to them
            if name.startswith("cell_anchors_"):
                found.append(anchors)
        return found

    @property
    def num_anchors(self) -> list[int]:
        """Number of anchors at each position of each feature map."""
        return [len(anchors) for anchors in self.cell_anchors]

    @property
    def num_cell_anchors(self) -> list[int]:
        """Another name of `num_anchors`."""
        return self.num_anchors

    def generate_cell_anchors(
        self,
        sizes: Sequence[float] = (32, 64, 128, 256, 512),
        aspect_ratios: Sequence[float] = (0.5, 1, 2),
    ) -> Tensor:
        """(len(sizes) * len(aspect_ratios), 4) unrounded anchors around the origin, sizes outer."""
        anchors = []
        for size in sizes:
            for ratio in aspect_ratios:
                width, height = size / math.sqrt(ratio), size * math.sqrt(ratio)
                anchors.append([-width / 2, -height / 2, width / 2, height / 2])
        return torch.tensor(anchors, dtype=torch.float32).reshape(-1, 4)

    def forward(self, features: list[Tensor]) -> list[Boxes]:
        """All anchors of each feature map; torch.jit can script it.

        Args:
            features: maps of shape (..., H, W), one per stride.

        Returns:
            For each map H * W * A boxes in pixels, positions row by row, the A anchors of a
            position together.
        """
        cell_anchors = self.cell_anchors
        if len(features) != len(cell_anchors):
            raise ValueError(f"Got {len(features)} feature maps for {len(cell_anchors)} strides.")
        boxes: list[Boxes] = []
        for anchors, feature, stride in zip(cell_anchors, features, self.strides):  # noqa: B905
            boxes.append(Boxes(place_anchors(anchors, feature, stride, self.offset)))
        return boxes


def place_anchors(anchors: Tensor, feature: Tensor, stride: int, offset: float) -> Tensor:
    """(H * W * A, 4): (A, 4) anchors around the origin put at each position of (..., H, W)."""
    rows = torch.arange(feature.shape[-2], dtype=torch.float32, device=anchors.device)
    columns = torch.arange(feature.shape[-1], dtype=torch.float32, device=anchors.device)
    y, x = torch.meshgrid((rows + offset) * stride, (columns + offset) * stride, indexing="ij")
    shifts = torch.stack([x, y, x, y], dim=-1)
    return (shifts[:, :, None] + anchors).reshape(-1, 4)


def one_list_per_feature(values: Sequence[Any], num_features: int, key: str) -> list[Any]:
    """Repeat a flat list, or the only list of a list, for every feature map."""
    values = list(values)
    if values and not isinstance(values[0], list | tuple):
        values = [values]
    if len(values) == 1:
        values = values * num_features
    if len(values) != num_features or not values:
        raise ValueError(
            f"MODEL.ANCHOR_GENERATOR.{key} has {len(values)} lists for {num_features} feature"
            " maps: give one for each, or one for all."
        )
    return values
