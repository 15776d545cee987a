"""The config keys of FCOS (Tian et al., ICCV 2019)."""

from dyhead.d2.config import CfgNode


def add_fcos_config(cfg: CfgNode) -> None:
    """Add MODEL.FCOS; keys without a comment mean what they mean in MODEL.ATSS.

    The defaults are the paper's with its authors' later improvements: centre sampling, GIoU,
    distances in strides, centre-ness beside the boxes. The original is CENTER_SAMPLING_RADIUS 0,
    BBOX_REG_LOSS_TYPE "iou", NORMALIZE_DISTANCES False, CENTERNESS_ON_BOX_TOWER False.
    """
    cfg.MODEL.FCOS = CfgNode()
    cfg.MODEL.FCOS.NUM_CLASSES = 80  # filled in from the data set, as MODEL.ATSS.NUM_CLASSES
    cfg.MODEL.FCOS.IN_FEATURES = ["p3", "p4", "p5", "p6", "p7"]  # finest level first
    cfg.MODEL.FCOS.NUM_CONVS = 4  # of the towers; 0 as in MODEL.ATSS
    cfg.MODEL.FCOS.CHANNELS = 256  # of the towers
    cfg.MODEL.FCOS.USE_GN = True  # in the towers
    cfg.MODEL.FCOS.PREDICTOR_KERNEL_SIZE = 3  # or 1
    cfg.MODEL.FCOS.PRIOR_PROB = 0.01
    cfg.MODEL.FCOS.PREDICTOR_INIT_STD = 0.01
    # Locations within so many strides of an object's centre answer for it; 0: all inside its box.
    cfg.MODEL.FCOS.CENTER_SAMPLING_RADIUS = 1.5
    # Pixels from a location to an object's farthest side, between one level and the next.
    cfg.MODEL.FCOS.LEVEL_LIMITS = [64, 128, 256, 512]
    # Distances are predicted in strides and rectified; else exponentials, in pixels.
    cfg.MODEL.FCOS.NORMALIZE_DISTANCES = True
    cfg.MODEL.FCOS.CENTERNESS_ON_BOX_TOWER = True  # else on the class tower
    cfg.MODEL.FCOS.FOCAL_LOSS_GAMMA = 2.0
    cfg.MODEL.FCOS.FOCAL_LOSS_ALPHA = 0.25
    cfg.MODEL.FCOS.BBOX_REG_LOSS_TYPE = "giou"  # or "iou"
    cfg.MODEL.FCOS.REG_LOSS_WEIGHT = 1.0
    cfg.MODEL.FCOS.INFERENCE_TH = 0.05  # lowest class score kept
    cfg.MODEL.FCOS.PRE_NMS_TOP_N = 1000  # detections per level kept before NMS
    cfg.MODEL.FCOS.RANK_BY_CENTERNESS = True  # class score times centre-ness, or class score alone
    cfg.MODEL.FCOS.CLIP_BEFORE_NMS = False
    cfg.MODEL.FCOS.NMS_TH = 0.6
