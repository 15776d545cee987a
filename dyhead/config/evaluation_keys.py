"""The config keys of evaluation."""

from dyhead.d2.config import CfgNode


def add_evaluation_config(cfg: CfgNode) -> None:
    """Add TEST.FAST_COCO_EVAL and TEST.MATCH_CLASSES."""
    # Compute AP with faster-coco-eval where it is installed, not with pycocotools; same scores.
    cfg.TEST.FAST_COCO_EVAL = True
    # How a checkpoint's classes and those of a data set find each other: by "name", in whatever
    # order, or by "index", for a data set whose classes were only renamed.
    cfg.TEST.MATCH_CLASSES = "name"
