"""The config keys of the box head with task-aware attention."""

from dyhead.d2.config import CfgNode


def add_box_head_config(cfg: CfgNode) -> None:
    """Add MODEL.TASK_AWARE_BOX_HEAD, for MODEL.ROI_BOX_HEAD.NAME "TaskAwareBoxHead"."""
    cfg.MODEL.TASK_AWARE_BOX_HEAD = CfgNode()
    # How many times a 3x3 convolution with stride 2, GroupNorm and task-aware attention follow.
    cfg.MODEL.TASK_AWARE_BOX_HEAD.NUM_BLOCKS = 2
