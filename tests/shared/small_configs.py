"""Every config of configs/, and how its detector becomes small enough for a test."""

from collections.abc import Iterator
from pathlib import Path

from torch import nn

from dyhead.config.find import is_base
from dyhead.d2 import HOST
from dyhead.d2.config import CfgNode
from dyhead.d2.layers import FrozenBatchNorm2d

PROJECT = Path(__file__).parents[2]
FOLDER = PROJECT / "configs"
FILES = sorted(path.relative_to(FOLDER).as_posix() for path in FOLDER.rglob("*.yaml"))
CONFIGS = [name for name in FILES if not is_base(name)]
MASK_RCNN = "dyhead_r50_mask_rcnn_fpn_1x.yaml"
NEED_GENUINE_DETECTRON2 = {
    "dyhead_r50_cascade_rcnn_fpn_1x.yaml": "MODEL.ROI_HEADS.NAME='CascadeROIHeads' is",
    MASK_RCNN: "MODEL.MASK_ON=True asks",
}
SERVED = [name for name in CONFIGS if HOST == "detectron2" or name not in NEED_GENUINE_DETECTRON2]

# What `shrink` puts into every group of keys that has it.
SMALL = {
    "OUT_CHANNELS": 32,
    "CHANNELS": 32,
    "POINT_CHANNELS": 32,
    "CONV_DIM": 32,
    "FC_DIM": 32,
    "STEM_OUT_CHANNELS": 16,
    "BATCH_SIZE_PER_IMAGE": 16,
    "PRE_NMS_TOPK_TRAIN": 100,
    "PRE_NMS_TOPK_TEST": 100,
    "POST_NMS_TOPK_TRAIN": 50,
    "POST_NMS_TOPK_TEST": 50,
    "PRE_NMS_TOP_N": 100,
    "TOPK_CANDIDATES_TEST": 100,
    "INFERENCE_TH": 0.0,  # random weights are sure of nothing
    "SCORE_THRESH_TEST": 0.0,
}


def shrink(cfg: CfgNode) -> None:
    """Make a detector of the same parts, but fewer and narrower, and its images small."""
    for group in groups_of(cfg.MODEL):
        for key in SMALL.keys() & group.keys():
            group[key] = SMALL[key]
    for detector in (cfg.MODEL.ATSS, cfg.MODEL.FCOS, cfg.MODEL.REPPOINTS):
        if detector.NUM_CONVS:  # whose GroupNorm has 32 groups: the coarsest map has one position
            detector.CHANNELS = 64
    cfg.MODEL.DYHEAD.NUM_CONVS = min(cfg.MODEL.DYHEAD.NUM_CONVS, 2)
    resnet = cfg.MODEL.RESNETS
    if resnet.DEPTH > 18:  # whose channels are fixed
        resnet.DEPTH, resnet.RES2_OUT_CHANNELS = 50, 32
        resnet.WIDTH_PER_GROUP = 8 if resnet.NUM_GROUPS == 1 else 1
    else:
        resnet.STEM_OUT_CHANNELS = 64
    swin = cfg.MODEL.SWINT
    swin.EMBED_DIM, swin.DEPTHS = swin.EMBED_DIM // 4, [min(depth, 2) for depth in swin.DEPTHS]
    cfg.INPUT.MIN_SIZE_TRAIN, cfg.INPUT.MAX_SIZE_TRAIN = (96, 128), 160
    cfg.INPUT.MIN_SIZE_TEST, cfg.INPUT.MAX_SIZE_TEST = 128, 160
    cfg.TEST.AUG.MIN_SIZES = tuple(64 + 16 * i for i in range(len(cfg.TEST.AUG.MIN_SIZES)))
    cfg.TEST.AUG.MAX_SIZE = 160


def groups_of(node: CfgNode) -> Iterator[CfgNode]:
    """All groups of keys below a node."""
    for value in node.values():
        if isinstance(value, CfgNode):
            yield value
            yield from groups_of(value)


def damp(model: nn.Module) -> None:
    """Make room for random weights: frozen norms have no statistics that suit them."""
    for norm in model.modules():
        if isinstance(norm, FrozenBatchNorm2d):
            norm.weight.fill_(0.5)
