"""The config keys of the dynamic head and of the pyramid that it stands on."""

from dyhead.d2.config import CfgNode


def add_head_config(cfg: CfgNode) -> None:
    """Add MODEL.DYHEAD and MODEL.FPN.RELU_BEFORE_P7."""
    # The dynamic head: a stack of attention blocks on top of an FPN.
    cfg.MODEL.DYHEAD = CfgNode()
    cfg.MODEL.DYHEAD.NUM_CONVS = 6  # number of blocks
    cfg.MODEL.DYHEAD.CHANNELS = 256  # channels of every block's output
    # The ablations of the paper's Table 1. With all three off no block is left, and the detector is
    # its plain baseline with towers.

    # Weigh a level and its neighbours by what is in them; off: their plain mean.
    cfg.MODEL.DYHEAD.SCALE_AWARE = True
    # Sample where learnt offsets point, as much as learnt masks say; off: a plain convolution.
    cfg.MODEL.DYHEAD.SPATIAL_AWARE = True
    # Switch channels by a dynamic ReLU; off: a plain ReLU.
    cfg.MODEL.DYHEAD.TASK_AWARE = True
    # Scale-aware attention by its name in dyhead.layers.SCALE_ATTENTIONS.
    cfg.MODEL.DYHEAD.SCALE_ATTENTION = "ScaleAttention"
    # Spatial-aware attention by its name in dyhead.layers.SPATIAL_ATTENTIONS.
    cfg.MODEL.DYHEAD.SPATIAL_ATTENTION = "SpatialAttention"
    # Task-aware attention by its name in dyhead.layers.TASK_ATTENTIONS.
    cfg.MODEL.DYHEAD.TASK_ATTENTION = "DyReLU"

    # What paper, official code and ports do differently: docs/semantics.md.

    # Order of the attentions: "spatial_scale_task" or "scale_spatial_task".
    cfg.MODEL.DYHEAD.ORDER = "spatial_scale_task"
    # How offsets serve the coarser level: "flat_read", "crop", "resize" or "upsample_features".
    cfg.MODEL.DYHEAD.COARSER_OFFSETS = "flat_read"
    # Of the scale attention: "official", relu6(x + 3) / 6, or "paper", max(0, min(1, (x + 1) / 2)).
    cfg.MODEL.DYHEAD.HARD_SIGMOID = "official"
    cfg.MODEL.DYHEAD.BIAS = True  # the deformable convolutions have a bias
    # Initial weights of the convolution that gives offsets and masks: "default" or "zero".
    cfg.MODEL.DYHEAD.OFFSET_INIT = "default"

    # Images are padded to a multiple of this; 0 stands for the coarsest level's stride.
    cfg.MODEL.DYHEAD.SIZE_DIVISIBILITY = 0
    # Compute a block's attentions in one pass, where its options allow: the same values, faster.
    cfg.MODEL.DYHEAD.FUSED = True
    # Recompute each block's inside in the backward pass: less memory, more time, same gradients.
    cfg.MODEL.DYHEAD.CHECKPOINT = False
    cfg.MODEL.FPN.RELU_BEFORE_P7 = True  # compute P7 from P6 after a ReLU
