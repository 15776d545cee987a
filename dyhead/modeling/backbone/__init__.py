"""Backbones that end in DyHead blocks."""

from dyhead.modeling.backbone.dyhead import DyHead
from dyhead.modeling.backbone.resnet_fpn_dyhead import (
    build_resnet_fpn_dyhead_backbone,
    build_retinanet_resnet_fpn_dyhead_backbone,
)
from dyhead.modeling.backbone.swin import SwinTransformer, build_swint_backbone
from dyhead.modeling.backbone.swin_fpn_dyhead import (
    build_retinanet_swint_fpn_dyhead_backbone,
    build_swint_fpn_dyhead_backbone,
)

__all__ = [
    "DyHead",
    "SwinTransformer",
    "build_resnet_fpn_dyhead_backbone",
    "build_retinanet_resnet_fpn_dyhead_backbone",
    "build_retinanet_swint_fpn_dyhead_backbone",
    "build_swint_backbone",
    "build_swint_fpn_dyhead_backbone",
]
