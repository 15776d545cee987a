"""The config keys of RetinaNet with predictors that may sit on the pyramid itself."""

from dyhead.d2.config import CfgNode


def add_retinanet_config(cfg: CfgNode) -> None:
    """Add MODEL.DYHEAD_RETINANET: what `DyHeadRetinaNet` reads besides MODEL.RETINANET.

    MODEL.RETINANET.NUM_CONVS may be 0 for it, and MODEL.RETINANET.NORM "" or "GN".
    """
    cfg.MODEL.DYHEAD_RETINANET = CfgNode()
    # Side of the predictors' convolutions: 1 or 3.
    cfg.MODEL.DYHEAD_RETINANET.PREDICTOR_KERNEL_SIZE = 3
    # Standard deviation of the predictors' initial weights: see MODEL.ATSS.PREDICTOR_INIT_STD.
    cfg.MODEL.DYHEAD_RETINANET.PREDICTOR_INIT_STD = 0.01
