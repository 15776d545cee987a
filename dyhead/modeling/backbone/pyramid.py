"""The feature pyramid that a config describes, on any bottom-up backbone, and its top levels."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from dyhead.d2.config import CfgNode
from dyhead.d2.layers import ShapeSpec
from dyhead.d2.modeling import FPN, Backbone
from dyhead.d2.modeling.backbone.fpn import LastLevelMaxPool, LastLevelP6P7
from dyhead.errors import UserError
from dyhead.layers.map_sizes import widened
from dyhead.modeling.backbone.any_size_fpn import AnySizeFPN


def build_fpn(cfg: CfgNode, bottom_up: Backbone, top_block: nn.Module | None) -> FPN:
    """Build `cfg.MODEL.FPN` on `bottom_up`.

    Args:
        cfg: of the whole run.
        bottom_up: gives MODEL.FPN.IN_FEATURES; where that is empty, all its features are taken.
        top_block: adds the coarser levels; None for none.

    Raises:
        UserError: `bottom_up` has no such features, or their strides do not double.
    """
    arguments: dict[str, Any] = {
        "bottom_up": bottom_up,
        "in_features": pyramid_features(cfg, bottom_up),
        "out_channels": cfg.MODEL.FPN.OUT_CHANNELS,
        "norm": cfg.MODEL.FPN.NORM,
        "top_block": top_block,
        "fuse_type": cfg.MODEL.FPN.FUSE_TYPE,
    }
    if cfg.MODEL.PADDING_IN_STATISTICS:
        return FPN(**arguments)
    return AnySizeFPN(**arguments, image_channels=len(cfg.MODEL.PIXEL_MEAN))


def pyramid_features(cfg: CfgNode, bottom_up: Backbone) -> list[str]:
    """Name the features of `bottom_up` that the pyramid stands on, finest first."""
    shapes = bottom_up.output_shape()
    names = list(cfg.MODEL.FPN.IN_FEATURES) or list(shapes)
    unknown = [name for name in names if name not in shapes]
    if unknown:
        raise UserError(
            f"MODEL.FPN.IN_FEATURES {names} asks for {', '.join(unknown)}, but the backbone gives"
            f" {', '.join(shapes)}: name some of these, or none for all of them."
        )
    _check_strides(names, shapes)
    return names


def _check_strides(names: Sequence[str], shapes: Mapping[str, ShapeSpec]) -> None:
    strides = [shapes[name].stride or 0 for name in names]
    if strides[0] & (strides[0] - 1) or any(b != 2 * a for a, b in pairwise(strides)):
        raise UserError(
            f"A pyramid cannot stand on {', '.join(names)} with strides {strides}: choose features"
            " whose strides are powers of two, each twice the one before."
        )


class P6P7(LastLevelP6P7):
    """P6 from a pyramid level and P7 from P6, on maps of any width: see `widened`."""

    def __init__(self, channels: int, in_feature: str, relu_before_p7: bool) -> None:
        """Build both convolutions.

        Args:
            channels: of all levels.
            in_feature: name of the level that P6 is computed from.
            relu_before_p7: a ReLU comes between, as in Detectron2; else none, as in MMDetection.
        """
        super().__init__(channels, channels, in_feature=in_feature)
        self.relu_before_p7 = relu_before_p7

    def forward(self, c5: Tensor) -> list[Tensor]:
        """Map (N, C, H, W) to [P6, P7]."""
        p6 = self.p6(widened(c5))
        before_p7 = F.relu(p6) if self.relu_before_p7 else p6
        return [p6, self.p7(widened(before_p7))]


def build_p6p7(cfg: CfgNode, in_feature: str = "p5") -> LastLevelP6P7:
    """Build P6 from P5's output, as the official code (Detectron2 takes res5), and P7 from P6.

    MODEL.FPN.RELU_BEFORE_P7 tells whether a ReLU comes between. A pyramid that ends in another
    level than P5 names it by `in_feature`, and the two levels are the next coarser ones.
    """
    return P6P7(cfg.MODEL.FPN.OUT_CHANNELS, in_feature, cfg.MODEL.FPN.RELU_BEFORE_P7)


def build_max_pool(in_feature: str = "p5") -> LastLevelMaxPool:
    """Build P6 as every second position of P5, or of the level named by `in_feature`."""
    top_block = LastLevelMaxPool()
    top_block.in_feature = in_feature
    return top_block


def build_top_block(cfg: CfgNode, kind: str, in_feature: str) -> nn.Module | None:
    """Build the part that adds the levels coarser than `in_feature`.

    Args:
        cfg: of the whole run.
        kind: "p6p7" for two by convolution, "maxpool" for one by subsampling, "" for none.
        in_feature: the pyramid's coarsest level without it, such as "p5".

    Raises:
        UserError: there is no such kind.
    """
    if kind == "p6p7":
        return build_p6p7(cfg, in_feature)
    if kind == "maxpool":
        return build_max_pool(in_feature)
    if kind:
        raise UserError(f'MODEL.TIMM.TOP_LEVELS "{kind}" must be "p6p7", "maxpool" or "".')
    return None
