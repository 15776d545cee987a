"""Any model of timm that gives features, with FPN and DyHead."""

from dyhead.d2.config import CfgNode
from dyhead.d2.layers import ShapeSpec
from dyhead.d2.modeling import BACKBONE_REGISTRY
from dyhead.modeling.backbone.dyhead import DyHead, build_dyhead
from dyhead.modeling.backbone.pyramid import build_fpn, pyramid_features
from dyhead.modeling.backbone.timm_backbone import build_timm_backbone
from dyhead.modeling.backbone.top_blocks import build_top_block


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
    return build_dyhead(cfg, build_fpn(cfg, bottom_up, top_block))
