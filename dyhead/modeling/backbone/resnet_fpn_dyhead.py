"""ResNet, FPN and DyHead, under the names the official configs ask for."""

from torch import nn

from dyhead.d2.config import CfgNode
from dyhead.d2.layers import ShapeSpec
from dyhead.d2.modeling import BACKBONE_REGISTRY
from dyhead.d2.modeling.backbone.fpn import LastLevelMaxPool
from dyhead.modeling.backbone.dyhead import DyHead, build_dyhead
from dyhead.modeling.backbone.pyramid import build_fpn
from dyhead.modeling.backbone.resnet import build_resnet
from dyhead.modeling.backbone.top_blocks import build_p6p7


@BACKBONE_REGISTRY.register()
def build_retinanet_resnet_fpn_dyhead_backbone(cfg: CfgNode, input_shape: ShapeSpec) -> DyHead:
    """Build P3 to P7 for one-stage detectors: P6 from P5's output, P7 from P6."""
    return _build(cfg, input_shape, build_p6p7(cfg))


@BACKBONE_REGISTRY.register()
def build_resnet_fpn_dyhead_backbone(cfg: CfgNode, input_shape: ShapeSpec) -> DyHead:
    """Build P2 to P6 for two-stage detectors: P6 is P5 subsampled."""
    return _build(cfg, input_shape, LastLevelMaxPool())


def _build(cfg: CfgNode, input_shape: ShapeSpec, top_block: nn.Module) -> DyHead:
    bottom_up = build_resnet(cfg, input_shape)
    return build_dyhead(cfg, build_fpn(cfg, bottom_up, top_block))
