"""Backbones of ResNet, Swin or timm, FPN and DyHead, under the names that configs ask for."""

from torch import nn

from dyhead.d2.config import CfgNode
from dyhead.d2.layers import ShapeSpec
from dyhead.d2.modeling import BACKBONE_REGISTRY, Backbone
from dyhead.modeling.backbone.dyhead import DyHead, build_dyhead
from dyhead.modeling.backbone.pyramid import (
    build_fpn,
    build_max_pool,
    build_p6p7,
    build_top_block,
    pyramid_features,
)
from dyhead.modeling.backbone.resnet import build_resnet
from dyhead.modeling.backbone.swin import build_swint_backbone
from dyhead.modeling.backbone.timm_backbone import build_timm_backbone


@BACKBONE_REGISTRY.register()
def build_retinanet_resnet_fpn_dyhead_backbone(cfg: CfgNode, input_shape: ShapeSpec) -> DyHead:
    """Build P3 to P7 on a ResNet for one-stage detectors: P6 from P5's output, P7 from P6."""
    return _on_pyramid(cfg, build_p6p7(cfg), build_resnet(cfg, input_shape))


@BACKBONE_REGISTRY.register()
def build_resnet_fpn_dyhead_backbone(cfg: CfgNode, input_shape: ShapeSpec) -> DyHead:
    """Build P2 to P6 on a ResNet for two-stage detectors: P6 is P5 subsampled."""
    return _on_pyramid(cfg, build_max_pool(), build_resnet(cfg, input_shape))


@BACKBONE_REGISTRY.register()
def build_retinanet_swint_fpn_dyhead_backbone(cfg: CfgNode, input_shape: ShapeSpec) -> DyHead:
    """Build P3 to P7 on a Swin for one-stage detectors: P6 from P5's output, P7 from P6."""
    return _on_pyramid(cfg, build_p6p7(cfg), build_swint_backbone(cfg, input_shape))


@BACKBONE_REGISTRY.register()
def build_swint_fpn_dyhead_backbone(cfg: CfgNode, input_shape: ShapeSpec) -> DyHead:
    """Build P2 to P6 on a Swin for two-stage detectors: P6 is P5 subsampled."""
    return _on_pyramid(cfg, build_max_pool(), build_swint_backbone(cfg, input_shape))


@BACKBONE_REGISTRY.register()
def build_timm_fpn_dyhead_backbone(cfg: CfgNode, input_shape: ShapeSpec) -> DyHead:
    """Build the model of `cfg.MODEL.TIMM`, a pyramid on its features, and DyHead.

    Levels are named by the binary logarithm of their stride: by default P3 to P7, as one-stage
    detectors want them; OUT_FEATURES from "stride4" and TOP_LEVELS "maxpool" give P2 to P6.
    """
    bottom_up = build_timm_backbone(cfg, input_shape)
    coarsest = bottom_up.output_shape()[pyramid_features(cfg, bottom_up)[-1]].stride
    last_level = f"p{coarsest.bit_length() - 1}"
    top_block = build_top_block(cfg, cfg.MODEL.TIMM.TOP_LEVELS, last_level)
    return _on_pyramid(cfg, top_block, bottom_up)


def _on_pyramid(cfg: CfgNode, top_block: nn.Module | None, bottom_up: Backbone) -> DyHead:
    # In the order of their making: a seed goes on giving the initial weights that it gave.
    return build_dyhead(cfg, build_fpn(cfg, bottom_up, top_block))
