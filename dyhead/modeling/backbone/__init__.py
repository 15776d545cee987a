"""Backbones that end in DyHead blocks."""

from dyhead.modeling.backbone.deform_bottleneck import DeformBottleneckBlock
from dyhead.modeling.backbone.dyhead import DyHead, build_dyhead
from dyhead.modeling.backbone.fpn_dyhead import (
    build_resnet_fpn_dyhead_backbone,
    build_retinanet_resnet_fpn_dyhead_backbone,
    build_retinanet_swint_fpn_dyhead_backbone,
    build_swint_fpn_dyhead_backbone,
    build_timm_fpn_dyhead_backbone,
)
from dyhead.modeling.backbone.pyramid import build_fpn, build_max_pool, build_p6p7
from dyhead.modeling.backbone.resnet import build_resnet
from dyhead.modeling.backbone.swin import SwinTransformer, build_swint_backbone
from dyhead.modeling.backbone.timm_backbone import TimmBackbone, build_timm_backbone

__all__ = [
    "DeformBottleneckBlock",
    "DyHead",
    "SwinTransformer",
    "TimmBackbone",
    "build_dyhead",
    "build_fpn",
    "build_max_pool",
    "build_p6p7",
    "build_resnet",
    "build_resnet_fpn_dyhead_backbone",
    "build_retinanet_resnet_fpn_dyhead_backbone",
    "build_retinanet_swint_fpn_dyhead_backbone",
    "build_swint_backbone",
    "build_swint_fpn_dyhead_backbone",
    "build_timm_backbone",
    "build_timm_fpn_dyhead_backbone",
]
