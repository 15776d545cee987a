"""The registry of second stages."""

from torch import nn

from ...config import CfgNode, check_part
from ...layers import ShapeSpec
from ...utils.registry import Registry

ROI_HEADS_REGISTRY = Registry("ROI_HEADS")
ROI_HEADS_REGISTRY.__doc__ = (
    """Modules built from `(cfg, input_shape: dict[str, ShapeSpec])`, called as StandardROIHeads."""
)


def build_roi_heads(cfg: CfgNode, input_shape: dict[str, ShapeSpec]) -> nn.Module:
    """Build the second stage registered as `cfg.MODEL.ROI_HEADS.NAME`.

    Args:
        cfg: the whole config.
        input_shape: what the backbone gives.

    Raises:
        ValueError: it is one that takes genuine Detectron2.
    """
    check_part(cfg, "MODEL.ROI_HEADS.NAME", ROI_HEADS_REGISTRY)
    return ROI_HEADS_REGISTRY.get(cfg.MODEL.ROI_HEADS.NAME)(cfg, input_shape)
