"""The config keys of the dynamic head and of the pyramid that it stands on."""

from dyhead.d2.config import CfgNode


def add_head_config(cfg: CfgNode) -> None:
    """Add MODEL.DYHEAD and MODEL.FPN.RELU_BEFORE_P7."""
    # The dynamic head: a stack of attention blocks on top of an FPN.
    cfg.MODEL.DYHEAD = CfgNode()
    cfg.MODEL.DYHEAD.NUM_CONVS = 6  # number of blocks
    cfg.MODEL.DYHEAD.CHANNELS = 256  # channels of every block's output
    # The ablations of the paper's Table 1. An attention that is off leaves its static counterpart;
    # with all three off no block is left, and the detector is its plain baseline with towers.
    cfg.MODEL.DYHEAD.SCALE_AWARE = True
    cfg.MODEL.DYHEAD.SPATIAL_AWARE = True
    cfg.MODEL.DYHEAD.TASK_AWARE = True
    # What paper, official code and ports do differently: docs/semantics.md.
    cfg.MODEL.DYHEAD.ORDER = "spatial_scale_task"  # or "scale_spatial_task"
    # or "crop", "resize", "upsample_features"
    cfg.MODEL.DYHEAD.COARSER_OFFSETS = "flat_read"
    cfg.MODEL.DYHEAD.HARD_SIGMOID = "official"  # or "paper"
    cfg.MODEL.DYHEAD.BIAS = True  # of the deformable convolutions
    cfg.MODEL.DYHEAD.OFFSET_INIT = "default"  # or "zero"
    # Images are padded to a multiple of it; 0 stands for the coarsest level's stride.
    cfg.MODEL.DYHEAD.SIZE_DIVISIBILITY = 0
    # Compute a block's attentions in one pass, where its options allow: the same values, faster.
    cfg.MODEL.DYHEAD.FUSED = True
    # Recompute each block's inside in the backward pass: less memory, more time, same gradients.
    cfg.MODEL.DYHEAD.CHECKPOINT = False
    cfg.MODEL.FPN.RELU_BEFORE_P7 = True  # P7 is computed from P6 after a ReLU
