"""The config keys of multi-scale testing that Detectron2 does not have."""

from dyhead.d2.config import CfgNode


def add_tta_config(cfg: CfgNode) -> None:
    """Add to TEST.AUG, which holds Detectron2's ENABLED, MIN_SIZES, MAX_SIZE and FLIP."""
    # How the boxes of all views become one set: "nms" or "wbf" (weighted box fusion).
    cfg.TEST.AUG.MERGE = "nms"
    # IoU above which two boxes of a class are the same object; 0.0: the detector's own threshold.
    cfg.TEST.AUG.IOU_THRESHOLD = 0.0
    # One [low, high] per entry of MIN_SIZES, or [] for no limits: at that scale only boxes whose
    # sqrt(area), in pixels of the original image, lies in it are kept. high -1: no upper limit.
    cfg.TEST.AUG.VALID_SIZES = []
