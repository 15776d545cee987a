"""The config keys of backbones from timm."""

from dyhead.d2.config import CfgNode


def add_timm_config(cfg: CfgNode) -> None:
    """Add MODEL.TIMM, for `build_timm_fpn_dyhead_backbone`.

    MODEL.BACKBONE.FREEZE_AT counts timm's own features of the model, finest first: n freezes all
    that the first n features are computed from (ResNet: 1 the stem, 2 the first stage too;
    ConvNeXt: 1 stem and first stage); -1 and 0 freeze nothing.

    Weights of timm are trained on RGB images: set INPUT.FORMAT, MODEL.PIXEL_MEAN and
    MODEL.PIXEL_STD to suit them (a warning names the values).
    """
    cfg.MODEL.TIMM = CfgNode()
    cfg.MODEL.TIMM.NAME = "convnext_tiny"  # a model of timm.list_models(), with or without tag
    # Features that are given out, by their stride; of several at one stride, the deepest. Whatever
    # lies behind the last of them is left out. MODEL.FPN.IN_FEATURES may stay empty: the pyramid
    # takes all.
    cfg.MODEL.TIMM.OUT_FEATURES = ["stride8", "stride16", "stride32"]
    # Levels above these features: "p6p7" two by convolution, "maxpool" one by subsampling, "" none.
    cfg.MODEL.TIMM.TOP_LEVELS = "p6p7"
    cfg.MODEL.TIMM.PRETRAINED = False  # start from timm's weights; timm downloads and keeps them
    cfg.MODEL.TIMM.DROP_PATH = 0.0  # chance that the last block is left out in training
    # Recompute each block's inside in the backward pass: less memory, more time, same gradients.
    cfg.MODEL.TIMM.GRAD_CHECKPOINTING = False
    cfg.MODEL.TIMM.NORM = ""  # "" keeps the model's norms, "FrozenBN" freezes batch norms
