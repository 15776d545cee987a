"""The pyramid's coarsest levels, such as P6 and P7."""

from torch import Tensor, nn

from dyhead.d2.config import CfgNode
from dyhead.d2.modeling.backbone.fpn import LastLevelMaxPool, LastLevelP6P7
from dyhead.errors import UserError


class LinearP6P7(LastLevelP6P7):
    """P6 from a pyramid level and P7 from P6, without the ReLU between them, as MMDetection."""

    def forward(self, x: Tensor) -> list[Tensor]:
        """Map (N, C, H, W) to [P6, P7]."""
        p6 = self.p6(x)
        return [p6, self.p7(p6)]


def build_p6p7(cfg: CfgNode, in_feature: str = "p5") -> LastLevelP6P7:
    """Build P6 from P5's output, as the official code (Detectron2 takes res5), and P7 from P6.

    MODEL.FPN.RELU_BEFORE_P7 tells whether a ReLU comes between. A pyramid that ends in another
    level than P5 names it by `in_feature`, and the two levels are the next coarser ones.
    """
    channels = cfg.MODEL.FPN.OUT_CHANNELS
    top_block = LastLevelP6P7 if cfg.MODEL.FPN.RELU_BEFORE_P7 else LinearP6P7
    return top_block(channels, channels, in_feature=in_feature)


def build_max_pool(in_feature: str = "p5") -> LastLevelMaxPool:
    """Build P6 as every second position of P5, or of the level named by `in_feature`."""
    top_block = LastLevelMaxPool()
    top_block.in_feature = in_feature
    return top_block


def build_top_block(cfg: CfgNode, kind: str, in_feature: str) -> nn.Module | None:
    """Build the part that adds the levels coarser than `in_feature`.

    Args:
        cfg: of the whole run.
        kind: "p6p7" for two by convolution, "maxpool" for one by subsampling, "" for none.
        in_feature: the pyramid's coarsest level without it, such as "p5".

    Raises:
        UserError: there is no such kind.
    """
    if kind == "p6p7":
        return build_p6p7(cfg, in_feature)
    if kind == "maxpool":
        return build_max_pool(in_feature)
    if kind:
        raise UserError(f'MODEL.TIMM.TOP_LEVELS "{kind}" must be "p6p7", "maxpool" or "".')
    return None
