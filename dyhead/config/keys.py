"""Every config key that the project adds to Detectron2's."""

from dyhead.config.atss_keys import add_atss_config
from dyhead.config.box_head_keys import add_box_head_config
from dyhead.config.checkpoint_keys import add_checkpoint_config
from dyhead.config.dyhead_keys import add_head_config
from dyhead.config.evaluation_keys import add_evaluation_config
from dyhead.config.fcos_keys import add_fcos_config
from dyhead.config.performance_keys import add_performance_config
from dyhead.config.reppoints_keys import add_reppoints_config
from dyhead.config.retinanet_keys import add_retinanet_config
from dyhead.config.sampling_keys import add_sampling_config
from dyhead.config.swin_keys import add_swin_config
from dyhead.config.timm_keys import add_timm_config
from dyhead.config.tta_keys import add_tta_config
from dyhead.d2.config import CfgNode


def add_dyhead_config(cfg: CfgNode) -> None:
    """Add the project's keys to `cfg`, with the names and defaults of the official code.

    Changed besides: `MODEL.BACKBONE.FREEZE_AT` is -1 (every backbone stage is trained).
    """
    cfg.MODEL.BACKBONE.FREEZE_AT = -1
    # The optimizer: "SGD" or "ADAMW".
    cfg.SOLVER.OPTIMIZER = "SGD"
    # COCO-format data sets to register: a list of [name, json file, image folder].
    cfg.DATASETS.COCO_JSON = []
    add_head_config(cfg)
    add_atss_config(cfg)
    add_retinanet_config(cfg)
    add_fcos_config(cfg)
    add_box_head_config(cfg)
    add_reppoints_config(cfg)
    add_swin_config(cfg)
    add_timm_config(cfg)
    add_sampling_config(cfg)
    add_tta_config(cfg)
    add_checkpoint_config(cfg)
    add_evaluation_config(cfg)
    add_performance_config(cfg)
