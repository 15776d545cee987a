"""The feature pyramid that a config describes, on any bottom-up backbone."""

from collections.abc import Mapping, Sequence
from itertools import pairwise

from torch import nn

from dyhead.d2.config import CfgNode
from dyhead.d2.layers import ShapeSpec
from dyhead.d2.modeling import FPN, Backbone
from dyhead.errors import UserError


def build_fpn(cfg: CfgNode, bottom_up: Backbone, top_block: nn.Module | None) -> FPN:
    """Build `cfg.MODEL.FPN` on `bottom_up`.

    Args:
        cfg: of the whole run.
        bottom_up: gives MODEL.FPN.IN_FEATURES; where that is empty, all its features are taken.
        top_block: adds the coarser levels; None for none.

    Raises:
        UserError: `bottom_up` has no such features, or their strides do not double.
    """
    return FPN(
        bottom_up=bottom_up,
        in_features=pyramid_features(cfg, bottom_up),
        out_channels=cfg.MODEL.FPN.OUT_CHANNELS,
        norm=cfg.MODEL.FPN.NORM,
        top_block=top_block,
        fuse_type=cfg.MODEL.FPN.FUSE_TYPE,
    )


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
