"""ATSS as a meta-architecture (Zhang et al., CVPR 2020)."""

from functools import partial
from typing import Any

import torch
from torch import Tensor

from dyhead.d2.config import CfgNode, configurable
from dyhead.d2.layers import ShapeSpec
from dyhead.d2.modeling.anchor_generator import build_anchor_generator
from dyhead.d2.modeling.backbone import build_backbone
from dyhead.d2.modeling.box_regression import Box2BoxTransform
from dyhead.d2.modeling.meta_arch import META_ARCH_REGISTRY
from dyhead.d2.structures import Instances
from dyhead.errors import UserError
from dyhead.modeling.meta_arch.atss_assignment import assign_anchors
from dyhead.modeling.meta_arch.box_geometry import centerness_targets
from dyhead.modeling.meta_arch.dense_detector import (
    DenseDetector,
    DensePredictions,
    head_levels,
    join_levels,
    trunk_arguments,
)
from dyhead.modeling.meta_arch.dense_head import DenseHead
from dyhead.modeling.meta_arch.dense_losses import box_loss, class_loss, normalizers, quality_loss
from dyhead.modeling.meta_arch.positives import find_positives
from dyhead.modeling.meta_arch.towers import shared_channels, tower_depth


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
        levels = head_levels(atss, backbone)
        anchor_generator = build_anchor_generator(cfg, levels)
        return trunk_arguments(cfg, atss, backbone) | {
            "head": build_head(
                atss,
                levels,
                num_anchors=anchors_per_location(anchor_generator),
                num_convs=tower_depth(atss.NUM_CONVS, backbone),
            ),
            "anchor_generator": anchor_generator,
            "box2box_transform": Box2BoxTransform(weights=tuple(atss.BBOX_REG_WEIGHTS)),
            "anchor_topk": atss.TOPK,
            "focal_loss_alpha": atss.FOCAL_LOSS_ALPHA,
            "focal_loss_gamma": atss.FOCAL_LOSS_GAMMA,
            "box_reg_loss_weight": atss.REG_LOSS_WEIGHT,
            "rank_by_quality": atss.RANK_BY_CENTERNESS,
            "clip_before_nms": atss.CLIP_BEFORE_NMS,
        }

    def losses(
        self,
        anchors: list[Tensor],
        predictions: DensePredictions,
        gt_instances: list[Instances],
    ) -> dict[str, Tensor]:
        """See `DenseDetector.losses`; all three stay connected to the graph without positives."""
        assign = partial(assign_anchors, anchors, candidates_per_level=self.candidates_per_level)
        positives = find_positives(gt_instances, assign)
        chosen = positives.images, positives.anchors
        logits, deltas, quality = join_levels(predictions)
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


def build_head(
    atss: CfgNode, levels: list[ShapeSpec], *, num_anchors: int, num_convs: int
) -> DenseHead:
    """The head for feature maps of the given shapes."""
    return DenseHead(
        in_channels=shared_channels(levels),
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
