"""The config keys of FCOS (Tian et al., ICCV 2019)."""

from dyhead.d2.config import CfgNode


def add_fcos_config(cfg: CfgNode) -> None:
    """Add MODEL.FCOS.

    The defaults are the paper's with its authors' later improvements: centre sampling, GIoU,
    distances in strides, centre-ness beside the boxes. The original is CENTER_SAMPLING_RADIUS 0,
    BBOX_REG_LOSS_TYPE "iou", NORMALIZE_DISTANCES False, CENTERNESS_ON_BOX_TOWER False.
    """
    cfg.MODEL.FCOS = CfgNode()
    # Classes without the background. Filled in from the training data set unless set.
    cfg.MODEL.FCOS.NUM_CLASSES = 80
    cfg.MODEL.FCOS.IN_FEATURES = ["p3", "p4", "p5", "p6", "p7"]  # levels, finest first
    # Convolutions of each tower. 0 with DyHead blocks; where a DyHead backbone has none of them, 0
    # means 4.
    cfg.MODEL.FCOS.NUM_CONVS = 4
    cfg.MODEL.FCOS.CHANNELS = 256  # channels of the towers
    cfg.MODEL.FCOS.USE_GN = True  # GroupNorm in the towers
    cfg.MODEL.FCOS.PREDICTOR_KERNEL_SIZE = 3  # side of the predictors' convolutions: 1 or 3
    cfg.MODEL.FCOS.PRIOR_PROB = 0.01  # foreground probability that the class bias starts from
    cfg.MODEL.FCOS.PREDICTOR_INIT_STD = 0.01  # standard deviation of the predictors' weights
    # Locations within so many strides of an object's centre answer for it; 0: all inside its box.
    cfg.MODEL.FCOS.CENTER_SAMPLING_RADIUS = 1.5
    # Pixels from a location to an object's farthest side, between one level and the next.
    cfg.MODEL.FCOS.LEVEL_LIMITS = [64, 128, 256, 512]
    # Distances are predicted in strides and rectified; else exponentials, in pixels.
    cfg.MODEL.FCOS.NORMALIZE_DISTANCES = True
    # Predict centre-ness from the box tower, else from the class tower.
    cfg.MODEL.FCOS.CENTERNESS_ON_BOX_TOWER = True
    cfg.MODEL.FCOS.FOCAL_LOSS_GAMMA = 2.0  # exponent that takes weight from easy examples
    cfg.MODEL.FCOS.FOCAL_LOSS_ALPHA = 0.25  # weight of positives; negatives have 1 - alpha
    cfg.MODEL.FCOS.BBOX_REG_LOSS_TYPE = "giou"  # loss on boxes: "giou", "diou", "ciou" or "iou"
    cfg.MODEL.FCOS.REG_LOSS_WEIGHT = 1.0  # weight of the loss on boxes
    cfg.MODEL.FCOS.INFERENCE_TH = 0.05  # lowest class score kept
    cfg.MODEL.FCOS.PRE_NMS_TOP_N = 1000  # detections per level kept before NMS
    # Rank these detections by class score times centre-ness, or by class score alone.
    cfg.MODEL.FCOS.RANK_BY_CENTERNESS = True
    cfg.MODEL.FCOS.CLIP_BEFORE_NMS = False  # clip boxes to the image before NMS, not after it
    cfg.MODEL.FCOS.NMS_TH = 0.6  # IoU above which NMS removes the lower score
