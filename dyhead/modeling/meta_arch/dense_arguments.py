"""Arguments of a `DenseDetector` that are read from the config in the same way for every one."""

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from dyhead.d2.config import CfgNode
from dyhead.d2.layers import ShapeSpec
from dyhead.d2.modeling.backbone import Backbone
from dyhead.errors import UserError

logger = logging.getLogger(__name__)


def trunk_arguments(cfg: CfgNode, section: CfgNode, backbone: Backbone) -> dict[str, Any]:
    """Read the constructor arguments of a `DenseDetector` that have the same keys for every one.

    Args:
        cfg: of the whole run.
        section: the detector's own part of it, such as `cfg.MODEL.ATSS`.
        backbone: what the detector stands on.
    """
    return {
        "backbone": backbone,
        "head_in_features": section.IN_FEATURES,
        "num_classes": section.NUM_CLASSES,
        "max_detections_per_image": cfg.TEST.DETECTIONS_PER_IMAGE,
        "pixel_mean": cfg.MODEL.PIXEL_MEAN,
        "pixel_std": cfg.MODEL.PIXEL_STD,
        "input_format": cfg.INPUT.FORMAT,
        "padding_in_statistics": cfg.MODEL.PADDING_IN_STATISTICS,
    }


def inference_arguments(section: CfgNode) -> dict[str, Any]:
    """Read the constructor arguments of inference from a section with the keys of MODEL.ATSS."""
    return {
        "test_score_thresh": section.INFERENCE_TH,
        "test_topk_candidates": section.PRE_NMS_TOP_N,
        "test_nms_thresh": section.NMS_TH,
        "clip_before_nms": section.CLIP_BEFORE_NMS,
    }


def head_levels(section: CfgNode, backbone: Backbone) -> list[ShapeSpec]:
    """Return the shapes of the features that the head reads, by `section.IN_FEATURES`.

    Raises:
        UserError: the backbone lacks one of them.
    """
    shapes = backbone.output_shape()
    check_features(section.IN_FEATURES, shapes)
    return [shapes[name] for name in section.IN_FEATURES]


def check_features(names: Sequence[str], available: Mapping[str, Any]) -> None:
    """Refuse names of features that the backbone does not have.

    Raises:
        UserError: a name is not among the available ones.
    """
    missing = [name for name in names if name not in available]
    if missing:
        raise UserError(
            f"IN_FEATURES names {', '.join(missing)}, but the backbone gives"
            f" {', '.join(available)}: use those names."
        )


def warn_of_unused_features(names: Sequence[str], available: Mapping[str, Any]) -> None:
    """Log the features that are computed for nothing."""
    unused = [name for name in available if name not in names]
    if unused:
        logger.warning("The backbone computes %s, which the head does not use.", ", ".join(unused))
