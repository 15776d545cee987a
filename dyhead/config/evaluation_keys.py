"""The config keys of evaluation."""

from dyhead.d2.config import CfgNode


def add_evaluation_config(cfg: CfgNode) -> None:
    """Add TEST.FAST_COCO_EVAL."""
    # Compute AP with faster-coco-eval where it is installed, not with pycocotools; same scores.
    cfg.TEST.FAST_COCO_EVAL = True
