"""Multi-scale testing as the config asks for it, by TEST.AUG."""

import logging

from torch import nn
from torch.nn.parallel import DistributedDataParallel

from dyhead.d2.config import CfgNode
from dyhead.errors import UserError
from dyhead.modeling.tta.multi_scale_testing import MultiScaleTesting, check_merging
from dyhead.modeling.tta.views import plan_views

logger = logging.getLogger(__name__)


def build_multi_scale_testing(cfg: CfgNode, model: nn.Module) -> nn.Module:
    """Return `model` with multi-scale testing around it where TEST.AUG.ENABLED, else itself.

    A model that is distributed over processes is taken out of its wrapper: in testing the
    processes work on different images, without waiting for each other.

    Raises:
        UserError: an option of TEST.AUG cannot be used.
    """
    if not cfg.TEST.AUG.ENABLED:
        return model
    check_multi_scale_testing(cfg)
    if isinstance(model, DistributedDataParallel):
        model = model.module
    testing = MultiScaleTesting(cfg, model)
    logger.info(
        "Multi-scale testing: %d views per image (shorter sides %s%s), merged by %s at IoU %g",
        len(testing.views),
        ", ".join(str(size) for size in cfg.TEST.AUG.MIN_SIZES),
        ", each also flipped" if cfg.TEST.AUG.FLIP else "",
        testing.merge,
        testing.iou_threshold,
    )
    return testing


def check_multi_scale_testing(cfg: CfgNode) -> None:
    """Refuse, before a long training, a TEST.AUG that cannot be used after it.

    Raises:
        UserError: it is enabled and cannot.
    """
    aug = cfg.TEST.AUG
    if not aug.ENABLED:
        return
    for key in ("MASK_ON", "KEYPOINT_ON"):
        if cfg.MODEL[key]:
            raise UserError(f"TEST.AUG.ENABLED merges boxes only: set MODEL.{key} to False.")
    if cfg.MODEL.META_ARCHITECTURE == "ProposalNetwork":
        raise UserError("TEST.AUG.ENABLED merges detections, and ProposalNetwork gives none.")
    check_merging(aug.MERGE, aug.IOU_THRESHOLD)
    plan_views(aug.MIN_SIZES, aug.MAX_SIZE, aug.FLIP, aug.VALID_SIZES)
