"""Feature pyramid network (arXiv:1612.03144) and the coarser levels on top of it.

Shapes: N images, C channels, H x W positions.
"""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import fvcore.nn.weight_init as weight_init
from torch import Tensor, nn
from torch.nn import functional as F

from ...config import CfgNode
from ...layers import Conv2d, ShapeSpec, get_norm
from .backbone import Backbone
from .build import BACKBONE_REGISTRY
from .resnet import build_resnet_backbone


class FPN(Backbone):
    """A top-down pathway over a bottom-up backbone; features are named "p<log2 of the stride>"."""

    def __init__(
        self,
        bottom_up: Backbone,
        in_features: Sequence[str],
        out_channels: int,
        norm: str = "",
        top_block: nn.Module | None = None,
        fuse_type: str = "sum",
        square_pad: int = 0,
    ) -> None:
        """Build the pyramid.

        Args:
            bottom_up: the backbone that the pyramid stands on.
            in_features: names of its features to use, finest first; each of twice the stride
                of the one before.
            out_channels: channels of every level.
            norm: what `get_norm` takes; "" gives convolutions with bias.
            top_block: maps one feature to a list of `num_levels` coarser ones; that feature, its
                `in_feature`, is looked for in `bottom_up` first, then in the pyramid.
            fuse_type: "sum" or "avg" of the lateral and the upsampled feature.
            square_pad: side in pixels of the square that images are to be padded to; 0 for none.

        Raises:
            ValueError: bad `in_features` or `fuse_type`.
        """
        super().__init__()
        if fuse_type not in ("sum", "avg"):
            raise ValueError(f"FPN's fuse_type is {fuse_type!r}: use 'sum' or 'avg'.")
        shapes = bottom_up.output_shape()
        strides = pyramid_strides(shapes, in_features)
        self.levels = [int(math.log2(stride)) for stride in strides]
        for level, name in zip(self.levels, in_features, strict=True):
            in_channels = shapes[name].channels
            self.add_module(f"fpn_lateral{level}", pyramid_conv(in_channels, out_channels, 1, norm))
            self.add_module(f"fpn_output{level}", pyramid_conv(out_channels, out_channels, 3, norm))
            self._initialize(level)
        # For subclasses, in Detectron2's order, from the top down; lists add no keys to the state.
        downwards = self.levels[::-1]
        self.lateral_convs = [self.get_submodule(f"fpn_lateral{level}") for level in downwards]
        self.output_convs = [self.get_submodule(f"fpn_output{level}") for level in downwards]
        self.top_block: Any = top_block
        self.in_features = tuple(in_features)
        self.bottom_up = bottom_up
        self._fuse_type = fuse_type
        self._square_pad = square_pad
        self._size_divisibility = strides[-1]
        self._describe_output(out_channels)

    def _initialize(self, level: int) -> None:
        for name in (f"fpn_lateral{level}", f"fpn_output{level}"):
            weight_init.c2_xavier_fill(self.get_submodule(name))

    def _describe_output(self, out_channels: int) -> None:
        num_extra = 0 if self.top_block is None else self.top_block.num_levels
        top = self.levels[-1]
        levels = self.levels + [top + 1 + index for index in range(num_extra)]
        self._out_features = [f"p{level}" for level in levels]
        self._out_feature_strides = {f"p{level}": 2**level for level in levels}
        self._out_feature_channels = dict.fromkeys(self._out_features, out_channels)

    @property
    def size_divisibility(self) -> int:
        """Stride of the coarsest level that takes part in the top-down pathway."""
        return self._size_divisibility

    @property
    def padding_constraints(self) -> dict[str, int]:
        """The square that images are to be padded to; 0 for none."""
        return {"square_size": self._square_pad}

    def forward(self, x: Any) -> dict[str, Tensor]:
        """Map what the bottom-up backbone takes to the levels, finest first.

        Raises:
            ValueError: the images' height or width does not suit `size_divisibility`.
        """
        features = self.bottom_up(x)
        levels = self._top_down([features[name] for name in self.in_features])
        named = dict(zip(self._out_features, levels, strict=False))
        if self.top_block is not None:
            source = self.top_block.in_feature
            levels += self.top_block(features[source] if source in features else named[source])
        return dict(zip(self._out_features, levels, strict=True))

    def _top_down(self, features: list[Tensor]) -> list[Tensor]:
        outputs: list[Tensor] = []
        fused: Tensor | None = None
        for level, feature in zip(self.levels[::-1], features[::-1], strict=True):
            lateral = self.get_submodule(f"fpn_lateral{level}")(feature)
            fused = lateral if fused is None else self._fuse(lateral, fused)
            outputs.insert(0, self.get_submodule(f"fpn_output{level}")(fused))
        return outputs

    def _fuse(self, lateral: Tensor, coarser: Tensor) -> Tensor:
        upsampled = F.interpolate(coarser, scale_factor=2.0, mode="nearest")
        if upsampled.shape[-2:] != lateral.shape[-2:]:
            raise ValueError(
                "FPN levels do not fit each other: pad the images to a multiple of"
                f" {self.size_divisibility} pixels."
            )
        fused = lateral + upsampled
        return fused / 2 if self._fuse_type == "avg" else fused


def pyramid_strides(shapes: dict[str, ShapeSpec], in_features: Sequence[str]) -> list[int]:
    """Strides of the bottom-up features, checked to double from one to the next."""
    missing = [name for name in in_features if name not in shapes]
    if missing or not in_features:
        raise ValueError(
            f"FPN's in_features {list(in_features)} must be some of what its backbone gives:"
            f" {', '.join(shapes)}."
        )
    strides = [shapes[name].stride or 0 for name in in_features]
    if any(coarser != 2 * finer for finer, coarser in pairwise(strides)):
        raise ValueError(
            f"FPN's in_features {list(in_features)} have strides {strides}: each must be twice the"
            " one before."
        )
    return strides


def pyramid_conv(in_channels: int | None, out_channels: int, kernel_size: int, norm: str) -> Conv2d:
    """Convolution of stride 1 that keeps the size; it has a bias only without normalization."""
    return Conv2d(
        in_channels,
        out_channels,
        kernel_size,
        padding=kernel_size // 2,
        bias=norm == "",
        norm=get_norm(norm, out_channels),
    )


class LastLevelMaxPool(nn.Module):
    """P6 as every second position of P5."""

    num_levels = 1
    in_feature = "p5"

    def forward(self, x: Tensor) -> list[Tensor]:
        """Map P5 (N, C, H, W) to [P6]."""
        return [F.max_pool2d(x, kernel_size=1, stride=2)]


class LastLevelP6P7(nn.Module):
    """P6 and P7 by 3 x 3 convolutions of stride 2, as in RetinaNet (arXiv:1708.02002)."""

    num_levels = 2

    def __init__(self, in_channels: int, out_channels: int, in_feature: str = "res5") -> None:
        """Take `in_channels` of the bottom-up or pyramid feature named `in_feature`."""
        super().__init__()
        self.in_feature = in_feature
        self.p6 = nn.Conv2d(in_channels, out_channels, 3, stride=2, padding=1)
        self.p7 = nn.Conv2d(out_channels, out_channels, 3, stride=2, padding=1)
        weight_init.c2_xavier_fill(self.p6)
        weight_init.c2_xavier_fill(self.p7)

    def forward(self, x: Tensor) -> list[Tensor]:
        """Map (N, C, H, W) to [P6, P7]."""
        p6 = self.p6(x)
        return [p6, self.p7(F.relu(p6))]


def fpn_from_config(cfg: CfgNode, bottom_up: Backbone, top_block: nn.Module) -> FPN:
    """Build the pyramid that `cfg.MODEL.FPN` describes."""
    return FPN(
        bottom_up,
        cfg.MODEL.FPN.IN_FEATURES,
        cfg.MODEL.FPN.OUT_CHANNELS,
        norm=cfg.MODEL.FPN.NORM,
        top_block=top_block,
        fuse_type=cfg.MODEL.FPN.FUSE_TYPE,
    )


@BACKBONE_REGISTRY.register()
def build_resnet_fpn_backbone(cfg: CfgNode, input_shape: ShapeSpec) -> FPN:
    """ResNet with a pyramid up to P6 by max pooling, as Faster R-CNN uses it."""
    return fpn_from_config(cfg, build_resnet_backbone(cfg, input_shape), LastLevelMaxPool())


@BACKBONE_REGISTRY.register()
def build_retinanet_resnet_fpn_backbone(cfg: CfgNode, input_shape: ShapeSpec) -> FPN:
    """ResNet with a pyramid up to P7 by convolutions from "res5", as RetinaNet uses it.

    Raises:
        ValueError: the ResNet does not give "res5".
    """
    bottom_up = build_resnet_backbone(cfg, input_shape)
    shapes = bottom_up.output_shape()
    if "res5" not in shapes:
        raise ValueError("MODEL.RESNETS.OUT_FEATURES lacks 'res5', which P6 and P7 come from.")
    channels = shapes["res5"].channels or 0
    return fpn_from_config(cfg, bottom_up, LastLevelP6P7(channels, cfg.MODEL.FPN.OUT_CHANNELS))
