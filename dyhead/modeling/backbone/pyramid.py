"""The feature pyramid that a config describes, on any bottom-up backbone."""

from torch import nn

from dyhead.d2.config import CfgNode
from dyhead.d2.modeling import FPN, Backbone


def build_fpn(cfg: CfgNode, bottom_up: Backbone, top_block: nn.Module) -> FPN:
    """Build `cfg.MODEL.FPN` on `bottom_up`.

    Args:
        cfg: of the whole run.
        bottom_up: gives MODEL.FPN.IN_FEATURES.
        top_block: adds the coarser levels.
    """
    return FPN(
        bottom_up=bottom_up,
        in_features=cfg.MODEL.FPN.IN_FEATURES,
        out_channels=cfg.MODEL.FPN.OUT_CHANNELS,
        norm=cfg.MODEL.FPN.NORM,
        top_block=top_block,
        fuse_type=cfg.MODEL.FPN.FUSE_TYPE,
    )
