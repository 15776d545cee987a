"""Every config key that the project adds to Detectron2's."""

from dyhead.config.atss_keys import add_atss_config
from dyhead.config.dyhead_keys import add_head_config
from dyhead.config.swin_keys import add_swin_config
from dyhead.d2.config import CfgNode


def add_dyhead_config(cfg: CfgNode) -> None:
    """Add the project's keys to `cfg`, with the names and defaults of the official code.

    Changed besides: `MODEL.BACKBONE.FREEZE_AT` is -1 (every backbone stage is trained).
    """
    cfg.MODEL.BACKBONE.FREEZE_AT = -1
    # "SGD" or "ADAMW".
    cfg.SOLVER.OPTIMIZER = "SGD"
    # COCO-format data sets to register: a list of [name, json file, image folder].
    cfg.DATASETS.COCO_JSON = []
    add_head_config(cfg)
    add_atss_config(cfg)
    add_swin_config(cfg)
