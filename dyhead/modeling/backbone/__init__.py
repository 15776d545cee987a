"""Backbones that end in DyHead blocks."""

from dyhead.modeling.backbone.dyhead import DyHead
from dyhead.modeling.backbone.resnet_fpn_dyhead import (
    build_resnet_fpn_dyhead_backbone,
    build_retinanet_resnet_fpn_dyhead_backbone,
)

__all__ = [
    "DyHead",
    "build_resnet_fpn_dyhead_backbone",
    "build_retinanet_resnet_fpn_dyhead_backbone",
]
