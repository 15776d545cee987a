"""ATSS as a meta-architecture (Zhang et al., CVPR 2020)."""

import logging
from typing import Any

import torch
from torch import Tensor

from dyhead.d2.config import CfgNode, configurable
from dyhead.d2.layers import ShapeSpec
from dyhead.d2.modeling.anchor_generator import build_anchor_generator
from dyhead.d2.modeling.backbone import Backbone, build_backbone
from dyhead.d2.modeling.box_regression import Box2BoxTransform
from dyhead.d2.modeling.meta_arch import META_ARCH_REGISTRY
from dyhead.d2.structures import Instances
from dyhead.errors import UserError
from dyhead.modeling.backbone import DyHead
from dyhead.modeling.meta_arch.atss_head import ATSSHead
from dyhead.modeling.meta_arch.atss_losses import (
    box_loss,
    centerness_targets,
    class_loss,
    find_positives,
    normalizers,
    quality_loss,
)
from dyhead.modeling.meta_arch.dense_detector import DenseDetector, DensePredictions, check_features

logger = logging.getLogger(__name__)

BASELINE_DEPTH = 4  # convolutions per tower of ATSS without DyHead


@META_ARCH_REGISTRY.register()
class ATSS(DenseDetector):
    """A dense detector trained on adaptively selected anchors; its quality is the centre-ness.

    Args:
        anchor_topk: candidates per object, level and anchor of a location.
        focal_loss_alpha: weight of the positive class, 1 - alpha that of the negative one.
        focal_loss_gamma: exponent that takes weight from easy examples.
        box_reg_loss_weight: weight of the box loss.
        dense_detector: see `DenseDetector`.

    Raises:
        UserError: the levels have different numbers of anchors per location.
    """

    @configurable
    def __init__(
        self,
        *,
        anchor_topk: int = 9,
        focal_loss_alpha: float = 0.25,
        focal_loss_gamma: float = 2.0,
        box_reg_loss_weight: float = 2.0,
        **dense_detector: Any,
    ) -> None:
        super().__init__(**dense_detector)
        self.candidates_per_level = anchor_topk * anchors_per_location(self.anchor_generator)
        self.focal_loss_alpha = focal_loss_alpha
        self.focal_loss_gamma = focal_loss_gamma
        self.box_reg_loss_weight = box_reg_loss_weight

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        """Constructor arguments from MODEL.ATSS, MODEL.ANCHOR_GENERATOR and the backbone's keys."""
        atss = cfg.MODEL.ATSS
        backbone = build_backbone(cfg)
        shapes = backbone.output_shape()
        check_features(atss.IN_FEATURES, shapes)
        levels = [shapes[name] for name in atss.IN_FEATURES]
        anchor_generator = build_anchor_generator(cfg, levels)
        return {
            "backbone": backbone,
            "head": build_head(
                cfg,
                levels,
                num_anchors=anchors_per_location(anchor_generator),
                num_convs=tower_depth(atss.NUM_CONVS, backbone),
            ),
            "head_in_features": atss.IN_FEATURES,
            "anchor_generator": anchor_generator,
            "box2box_transform": Box2BoxTransform(weights=tuple(atss.BBOX_REG_WEIGHTS)),
            "num_classes": atss.NUM_CLASSES,
            "anchor_topk": atss.TOPK,
            "focal_loss_alpha": atss.FOCAL_LOSS_ALPHA,
            "focal_loss_gamma": atss.FOCAL_LOSS_GAMMA,
            "box_reg_loss_weight": atss.REG_LOSS_WEIGHT,
            "test_score_thresh": atss.INFERENCE_TH,
            "test_topk_candidates": atss.PRE_NMS_TOP_N,
            "test_nms_thresh": atss.NMS_TH,
            "rank_by_quality": atss.RANK_BY_CENTERNESS,
            "clip_before_nms": atss.CLIP_BEFORE_NMS,
            "max_detections_per_image": cfg.TEST.DETECTIONS_PER_IMAGE,
            "pixel_mean": cfg.MODEL.PIXEL_MEAN,
            "pixel_std": cfg.MODEL.PIXEL_STD,
            "input_format": cfg.INPUT.FORMAT,
        }

    def losses(
        self,
        anchors: list[Tensor],
        predictions: DensePredictions,
        gt_instances: list[Instances],
    ) -> dict[str, Tensor]:
        """See `DenseDetector.losses`; all three stay connected to the graph without positives."""
        positives = find_positives(anchors, gt_instances, self.candidates_per_level)
        chosen = positives.images, positives.anchors
        logits, deltas, quality = (torch.cat(levels, dim=1) for levels in predictions)
        chosen_anchors = torch.cat(anchors)[positives.anchors]

        centerness = centerness_targets(chosen_anchors, positives.boxes)
        num_positives, centerness_sum = normalizers(centerness)
        boxes = self.box2box_transform.apply_deltas(deltas[chosen], chosen_anchors)
        return {
            "loss_cls": class_loss(
                logits,
                positives,
                alpha=self.focal_loss_alpha,
                gamma=self.focal_loss_gamma,
                normalizer=num_positives,
            ),
            "loss_ctr": quality_loss(quality[chosen], centerness, num_positives),
            "loss_box_reg": self.box_reg_loss_weight
            * box_loss(boxes, positives.boxes, centerness, centerness_sum),
        }


def tower_depth(num_convs: int, backbone: Backbone) -> int:
    """How many convolutions stand between the features and the predictors.

    DyHead blocks replace the towers. A DyHead backbone that has none, because NUM_CONVS is 0 or
    every attention is off, is the plain baseline, which gets back the four they replace.
    """
    if num_convs == 0 and isinstance(backbone, DyHead) and len(backbone.blocks) == 0:
        logger.info("No DyHead block: the head gets towers of %d convolutions.", BASELINE_DEPTH)
        return BASELINE_DEPTH
    return num_convs


def build_head(
    cfg: CfgNode, levels: list[ShapeSpec], *, num_anchors: int, num_convs: int
) -> ATSSHead:
    """The head for feature maps of the given shapes.

    Raises:
        UserError: the feature maps have different numbers of channels.
    """
    atss = cfg.MODEL.ATSS
    channels = {level.channels for level in levels}
    if len(channels) != 1:
        raise UserError(
            f"MODEL.ATSS.IN_FEATURES {list(atss.IN_FEATURES)} have {sorted(channels)} channels:"
            " one head for all levels needs the same number in each."
        )
    return ATSSHead(
        in_channels=channels.pop(),
        num_levels=len(levels),
        num_classes=atss.NUM_CLASSES,
        num_anchors=num_anchors,
        num_convs=num_convs,
        channels=atss.CHANNELS,
        use_gn=atss.USE_GN,
        predictor_kernel_size=atss.PREDICTOR_KERNEL_SIZE,
        prior_prob=atss.PRIOR_PROB,
        predictor_init_std=atss.PREDICTOR_INIT_STD,
    )


def anchors_per_location(anchor_generator: Any) -> int:
    """How many anchors every location has.

    Raises:
        UserError: the levels differ in it.
    """
    counts = set(anchor_generator.num_anchors)
    if len(counts) != 1:
        raise UserError(
            f"MODEL.ANCHOR_GENERATOR gives {anchor_generator.num_anchors} anchors per location on"
            " the levels: a shared head needs as many SIZES x ASPECT_RATIOS on each."
        )
    return int(counts.pop())
