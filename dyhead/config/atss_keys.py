"""The config keys of ATSS (Zhang et al., CVPR 2020)."""

from dyhead.d2.config import CfgNode


def add_atss_config(cfg: CfgNode) -> None:
    """Add MODEL.ATSS with the names and defaults of the official code."""
    cfg.MODEL.ATSS = CfgNode()
    # Classes without the background. Filled in from the training data set unless set.
    cfg.MODEL.ATSS.NUM_CLASSES = 80
    cfg.MODEL.ATSS.IN_FEATURES = ["p3", "p4", "p5", "p6", "p7"]  # levels, finest first
    # Convolutions between the features and the predictors, per branch. 0 with DyHead blocks; where
    # a DyHead backbone has none of them, 0 means 4.
    cfg.MODEL.ATSS.NUM_CONVS = 4
    cfg.MODEL.ATSS.CHANNELS = 256  # channels of the NUM_CONVS convolutions
    cfg.MODEL.ATSS.USE_GN = True  # GroupNorm after each of these convolutions
    cfg.MODEL.ATSS.PREDICTOR_KERNEL_SIZE = 1  # side of the predictors' convolutions: 1 or 3
    cfg.MODEL.ATSS.TOPK = 9  # candidate anchors per ground-truth box and level
    cfg.MODEL.ATSS.PRIOR_PROB = 0.01  # foreground probability that the class bias starts from
    # Standard deviation of the predictors' initial weights. Larger (0.1) lets a detector that
    # starts from random weights tell its classes apart hundreds of steps sooner.
    cfg.MODEL.ATSS.PREDICTOR_INIT_STD = 0.01
    cfg.MODEL.ATSS.BBOX_REG_WEIGHTS = (10.0, 10.0, 5.0, 5.0)  # factors of box deltas dx, dy, dw, dh
    cfg.MODEL.ATSS.FOCAL_LOSS_GAMMA = 2.0  # exponent that takes weight from easy examples
    cfg.MODEL.ATSS.FOCAL_LOSS_ALPHA = 0.25  # weight of positives; negatives have 1 - alpha
    cfg.MODEL.ATSS.BBOX_REG_LOSS_TYPE = "giou"  # loss on boxes: "giou", "diou", "ciou" or "iou"
    cfg.MODEL.ATSS.REG_LOSS_WEIGHT = 2.0  # weight of the loss on boxes
    cfg.MODEL.ATSS.INFERENCE_TH = 0.05  # lowest class score kept
    cfg.MODEL.ATSS.PRE_NMS_TOP_N = 1000  # detections per level kept before NMS
    # Rank these detections by class score times centre-ness, or by class score alone.
    cfg.MODEL.ATSS.RANK_BY_CENTERNESS = True
    cfg.MODEL.ATSS.CLIP_BEFORE_NMS = False  # clip boxes to the image before NMS, not after it
    cfg.MODEL.ATSS.NMS_TH = 0.6  # IoU above which NMS removes the lower score
