"""The config keys of RepPoints (Yang et al., ICCV 2019)."""

from dyhead.d2.config import CfgNode


def add_reppoints_config(cfg: CfgNode) -> None:
    """Add MODEL.REPPOINTS with the settings of the paper's moment-based detector."""
    cfg.MODEL.REPPOINTS = CfgNode()
    # Classes without the background. Filled in from the training data set unless set.
    cfg.MODEL.REPPOINTS.NUM_CLASSES = 80
    cfg.MODEL.REPPOINTS.IN_FEATURES = ["p3", "p4", "p5", "p6", "p7"]  # levels, finest first
    # Convolutions between the features and the point convolutions, per branch. 0 with DyHead
    # blocks; where a DyHead backbone has none of them, 0 means 4.
    cfg.MODEL.REPPOINTS.NUM_CONVS = 3
    cfg.MODEL.REPPOINTS.CHANNELS = 256  # channels of the NUM_CONVS convolutions
    cfg.MODEL.REPPOINTS.USE_GN = True  # GroupNorm after each of these convolutions
    cfg.MODEL.REPPOINTS.POINT_CHANNELS = 256  # channels that the deformable convolutions give
    cfg.MODEL.REPPOINTS.NUM_POINTS = 9  # points of a set: 9, 25, 49, ...
    # How points become a box: "moment" (mean and standard deviation), "minmax" or
    # "partial_minmax" (of the first four points).
    cfg.MODEL.REPPOINTS.TRANSFORM = "moment"
    cfg.MODEL.REPPOINTS.MOMENT_MUL = 0.01  # share of the gradient that "moment"'s factors get
    # Share of the gradient that the initial points get from what is computed at them.
    cfg.MODEL.REPPOINTS.GRADIENT_MUL = 0.1
    cfg.MODEL.REPPOINTS.PRIOR_PROB = 0.01  # foreground probability that the class bias starts from
    # Standard deviation of the initial weights of the last convolutions, both the classes' and the
    # points'.
    cfg.MODEL.REPPOINTS.PREDICTOR_INIT_STD = 0.01
    # The size of a typical object, in strides: chooses the level on which an object trains the
    # initial points, and the unit of the losses on boxes.
    cfg.MODEL.REPPOINTS.POINT_BASE_SCALE = 4.0
    cfg.MODEL.REPPOINTS.TOPK = 1  # locations whose initial points an object trains
    # For classes and refined points: initial boxes of an IoU below the first are background, and
    # from the second on they have to detect the object.
    cfg.MODEL.REPPOINTS.IOU_THRESHOLDS = [0.4, 0.5]
    cfg.MODEL.REPPOINTS.FOCAL_LOSS_GAMMA = 2.0  # exponent that takes weight from easy examples
    cfg.MODEL.REPPOINTS.FOCAL_LOSS_ALPHA = 0.25  # weight of positives; negatives have 1 - alpha
    # Loss on boxes: "smooth_l1" on their sides, or "giou", "diou", "ciou" or "iou".
    cfg.MODEL.REPPOINTS.BBOX_REG_LOSS_TYPE = "smooth_l1"
    cfg.MODEL.REPPOINTS.SMOOTH_L1_BETA = 0.11  # where the smooth L1 loss turns linear
    cfg.MODEL.REPPOINTS.INIT_LOSS_WEIGHT = 0.5  # weight of the loss on the initial boxes
    cfg.MODEL.REPPOINTS.REFINE_LOSS_WEIGHT = 1.0  # weight of the loss on the refined boxes
    cfg.MODEL.REPPOINTS.INFERENCE_TH = 0.05  # lowest class score kept
    cfg.MODEL.REPPOINTS.PRE_NMS_TOP_N = 1000  # detections per level kept before NMS
    cfg.MODEL.REPPOINTS.CLIP_BEFORE_NMS = True  # clip boxes to the image before NMS, not after it
    cfg.MODEL.REPPOINTS.NMS_TH = 0.5  # IoU above which NMS removes the lower score
