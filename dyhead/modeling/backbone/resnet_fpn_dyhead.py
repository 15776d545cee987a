"""ResNet, FPN and DyHead, under the names the official configs ask for."""

from torch import nn

from dyhead.d2.config import CfgNode
from dyhead.d2.layers import ShapeSpec
from dyhead.d2.modeling import BACKBONE_REGISTRY, FPN, build_resnet_backbone
from dyhead.d2.modeling.backbone.fpn import LastLevelMaxPool, LastLevelP6P7
from dyhead.modeling.backbone.dyhead import DyHead


@BACKBONE_REGISTRY.register()
def build_retinanet_resnet_fpn_dyhead_backbone(cfg: CfgNode, input_shape: ShapeSpec) -> DyHead:
    """Build P3 to P7 for one-stage detectors: P6 from P5's output, P7 from P6 after a ReLU."""
    channels = cfg.MODEL.FPN.OUT_CHANNELS
    return _build(cfg, input_shape, LastLevelP6P7(channels, channels, in_feature="p5"))


@BACKBONE_REGISTRY.register()
def build_resnet_fpn_dyhead_backbone(cfg: CfgNode, input_shape: ShapeSpec) -> DyHead:
    """Build P2 to P6 for two-stage detectors: P6 is P5 subsampled."""
    return _build(cfg, input_shape, LastLevelMaxPool())


def _build(cfg: CfgNode, input_shape: ShapeSpec, top_block: nn.Module) -> DyHead:
    fpn = FPN(
        bottom_up=build_resnet_backbone(cfg, input_shape),
        in_features=cfg.MODEL.FPN.IN_FEATURES,
        out_channels=cfg.MODEL.FPN.OUT_CHANNELS,
        norm=cfg.MODEL.FPN.NORM,
        top_block=top_block,
        fuse_type=cfg.MODEL.FPN.FUSE_TYPE,
    )
    return DyHead(fpn, channels=cfg.MODEL.DYHEAD.CHANNELS, num_blocks=cfg.MODEL.DYHEAD.NUM_CONVS)
