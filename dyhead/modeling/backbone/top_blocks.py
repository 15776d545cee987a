"""The pyramid's coarsest levels, P6 and P7."""

from torch import Tensor

from dyhead.d2.config import CfgNode
from dyhead.d2.modeling.backbone.fpn import LastLevelP6P7


class LinearP6P7(LastLevelP6P7):
    """P6 from a pyramid level and P7 from P6, without the ReLU between them, as MMDetection."""

    def forward(self, x: Tensor) -> list[Tensor]:
        """Map (N, C, H, W) to [P6, P7]."""
        p6 = self.p6(x)
        return [p6, self.p7(p6)]


def build_p6p7(cfg: CfgNode) -> LastLevelP6P7:
    """P6 from P5's output, as the official code (Detectron2 takes res5); P7 from P6.

    MODEL.FPN.RELU_BEFORE_P7 tells whether a ReLU comes between.
    """
    channels = cfg.MODEL.FPN.OUT_CHANNELS
    top_block = LastLevelP6P7 if cfg.MODEL.FPN.RELU_BEFORE_P7 else LinearP6P7
    return top_block(channels, channels, in_feature="p5")
