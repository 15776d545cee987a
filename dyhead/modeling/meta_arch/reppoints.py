"""RepPoints as a meta-architecture (Yang et al., ICCV 2019)."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from dyhead.d2.config import CfgNode, configurable
from dyhead.d2.layers import ShapeSpec
from dyhead.d2.modeling.backbone import build_backbone
from dyhead.d2.modeling.meta_arch import META_ARCH_REGISTRY
from dyhead.d2.structures import Instances
from dyhead.errors import UserError
from dyhead.modeling.meta_arch.assignment import IGNORED, Positives, check_topk, find_positives
from dyhead.modeling.meta_arch.dense_arguments import (
    head_levels,
    inference_arguments,
    trunk_arguments,
)
from dyhead.modeling.meta_arch.dense_detector import DenseDetector, DensePredictions, flatten_maps
from dyhead.modeling.meta_arch.dense_losses import (
    SMOOTH_L1,
    box_loss,
    check_box_loss,
    class_loss,
    mean_over_processes,
)
from dyhead.modeling.meta_arch.locations import PointBoxTransform, build_location_generator, sides
from dyhead.modeling.meta_arch.reppoints_assignment import assign_by_location, assign_by_overlap
from dyhead.modeling.meta_arch.reppoints_head import RepPointsHead
from dyhead.modeling.meta_arch.towers import shared_channels, tower_depth


@dataclass(frozen=True)
class PointPredictions(DensePredictions):
    """Scores and refined boxes, and beside them the initial boxes, which training needs."""

    initial_deltas: list[Tensor] = field(default_factory=list)  # per level (N, R, 4)


@META_ARCH_REGISTRY.register()
class RepPoints(DenseDetector):
    """A dense detector whose boxes come from sets of points, found and refined in two stages.

    Args:
        base_scale: the size of a typical object, in strides: chooses an object's level in the first
            stage, and is the unit of the losses on boxes.
        topk: locations per object in the first stage.
        iou_thresholds: in the second stage, the IoU of the initial box below which a location is
            background, and that from which on it has to detect an object.
        focal_loss_alpha: weight of the positive class, 1 - alpha that of the negative one.
        focal_loss_gamma: exponent that takes weight from easy examples.
        box_reg_loss_type: "smooth_l1" on the boxes' sides, or a key of `BOX_LOSSES`.
        smooth_l1_beta: where the smooth L1 loss turns from square to linear.
        init_loss_weight: weight of the loss on the initial boxes.
        refine_loss_weight: weight of the loss on the refined boxes.
        dense_detector: see `DenseDetector`; the anchors are locations, the head a `RepPointsHead`.

    Raises:
        UserError: the IoU thresholds aren't two numbers in order, `topk` is not positive, or there
            is no such box loss.
    """

    config_section = "REPPOINTS"  # of what derives from it too

    @configurable
    def __init__(
        self,
        *,
        base_scale: float = 4.0,
        topk: int = 1,
        iou_thresholds: Sequence[float] = (0.4, 0.5),
        focal_loss_alpha: float = 0.25,
        focal_loss_gamma: float = 2.0,
        box_reg_loss_type: str = SMOOTH_L1,
        smooth_l1_beta: float = 0.11,
        init_loss_weight: float = 0.5,
        refine_loss_weight: float = 1.0,
        **dense_detector: Any,
    ) -> None:
        super().__init__(**dense_detector)
        check_topk(topk)
        check_thresholds(iou_thresholds)
        check_box_loss(self.config_key("BBOX_REG_LOSS_TYPE"), box_reg_loss_type, SMOOTH_L1)
        self.base_scale = base_scale
        self.topk = topk
        self.background_below, self.positive_from = iou_thresholds
        self.focal_loss_alpha = focal_loss_alpha
        self.focal_loss_gamma = focal_loss_gamma
        self.box_reg_loss_type = box_reg_loss_type
        self.smooth_l1_beta = smooth_l1_beta
        self.init_loss_weight = init_loss_weight
        self.refine_loss_weight = refine_loss_weight

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        """Read constructor arguments from MODEL.REPPOINTS and the backbone's keys."""
        section = cfg.MODEL.REPPOINTS
        backbone = build_backbone(cfg)
        levels = head_levels(section, backbone)
        return {
            **trunk_arguments(cfg, section, backbone),
            **inference_arguments(section),
            "head": build_head(section, levels, tower_depth(section.NUM_CONVS, backbone)),
            "anchor_generator": build_location_generator(levels),
            "box2box_transform": PointBoxTransform(),
            "base_scale": section.POINT_BASE_SCALE,
            "topk": section.TOPK,
            "iou_thresholds": section.IOU_THRESHOLDS,
            "focal_loss_alpha": section.FOCAL_LOSS_ALPHA,
            "focal_loss_gamma": section.FOCAL_LOSS_GAMMA,
            "box_reg_loss_type": section.BBOX_REG_LOSS_TYPE,
            "smooth_l1_beta": section.SMOOTH_L1_BETA,
            "init_loss_weight": section.INIT_LOSS_WEIGHT,
            "refine_loss_weight": section.REFINE_LOSS_WEIGHT,
        }

    def arrange(self, maps: Sequence[list[Tensor]]) -> PointPredictions:
        """Bring the maps of a `RepPointsHead` into the order of the locations."""
        logits, initial, refined = maps
        return PointPredictions(
            class_logits=flatten_maps(logits, self.num_classes),
            box_deltas=flatten_maps(refined, 4),
            initial_deltas=flatten_maps(initial, 4),
        )

    def losses(
        self,
        anchors: list[Tensor],
        predictions: DensePredictions,
        gt_instances: list[Instances],
    ) -> dict[str, Tensor]:
        """Compute the losses; all three stay connected to the graph without positives."""
        assert isinstance(predictions, PointPredictions), "`arrange` gives these"
        locations = torch.cat(anchors)
        initial = self.boxes(predictions.initial_deltas, locations)
        refined = self.boxes(predictions.box_deltas, locations)
        by_location, by_overlap = self.assign(anchors, predictions, initial.detach(), gt_instances)
        first = find_positives(gt_instances, by_location)
        second = find_positives(gt_instances, by_overlap)
        first_count, second_count = mean_counts(first, second)
        return {
            "loss_cls": class_loss(
                torch.cat(predictions.class_logits, dim=1),
                second,
                alpha=self.focal_loss_alpha,
                gamma=self.focal_loss_gamma,
                normalizer=second_count,
                ignored=by_overlap == IGNORED,
            ),
            "loss_pts_init": self.init_loss_weight
            * self._box_loss(initial, first, locations, first_count),
            "loss_pts_refine": self.refine_loss_weight
            * self._box_loss(refined, second, locations, second_count),
        }

    def assign(
        self,
        anchors: list[Tensor],
        predictions: DensePredictions,
        initial: Tensor,
        gt_instances: list[Instances],
    ) -> tuple[Tensor, Tensor]:
        """Assign the objects of every image in both stages.

        Args:
            anchors: per level (R, 4).
            predictions: of the batch.
            initial: (N, T, 4), the initial boxes, XYXY in pixels.
            gt_instances: per image, with `gt_boxes` and `gt_classes`, possibly empty.

        Returns:
            (N, T) assignments of initial and of refined points.
        """
        by_location = predictions.assign(
            partial(assign_by_location, base_scale=self.base_scale, topk=self.topk),
            anchors,
            gt_instances,
        )
        # What is proposed outside of an image is empty, and so it overlaps nothing.
        by_overlap = [
            assign_by_overlap(
                proposals,
                instances.gt_boxes.tensor,
                background_below=self.background_below,
                positive_from=self.positive_from,
            )
            for proposals, instances in zip(initial, gt_instances, strict=True)
        ]
        return by_location, torch.stack(by_overlap)

    def boxes(self, deltas: list[Tensor], locations: Tensor) -> Tensor:
        """Decode deltas (N, R, 4) per level to boxes (N, T, 4), XYXY in pixels."""
        boxes: Tensor = self.box2box_transform.apply_deltas(torch.cat(deltas, dim=1), locations)
        return boxes

    def _box_loss(
        self, boxes: Tensor, positives: Positives, locations: Tensor, normalizer: Tensor
    ) -> Tensor:
        """Sum the losses of the boxes (N, T, 4) of positive locations."""
        predicted = boxes[positives.images, positives.anchors]
        if self.box_reg_loss_type != SMOOTH_L1:
            return box_loss(predicted, positives.boxes, self.box_reg_loss_type, normalizer)
        # In units of a typical object's size, so that objects count alike on all levels.
        unit = self.base_scale * sides(locations[positives.anchors])
        total = F.smooth_l1_loss(
            predicted / unit, positives.boxes / unit, beta=self.smooth_l1_beta, reduction="sum"
        )
        return total / normalizer


def build_head(section: CfgNode, levels: list[ShapeSpec], num_convs: int) -> RepPointsHead:
    """Build the head for feature maps of the given shapes, by MODEL.REPPOINTS."""
    return RepPointsHead(
        in_channels=shared_channels(levels),
        num_classes=section.NUM_CLASSES,
        num_convs=num_convs,
        channels=section.CHANNELS,
        use_gn=section.USE_GN,
        num_points=section.NUM_POINTS,
        point_channels=section.POINT_CHANNELS,
        transform=section.TRANSFORM,
        moment_mul=section.MOMENT_MUL,
        gradient_mul=section.GRADIENT_MUL,
        prior_prob=section.PRIOR_PROB,
        predictor_init_std=section.PREDICTOR_INIT_STD,
    )


@torch.no_grad()
def mean_counts(first: Positives, second: Positives) -> tuple[Tensor, Tensor]:
    """Count the positives of both stages, at least 1: means over the processes.

    One collective operation whatever the batch holds, so that no process waits in vain.
    """
    counts = first.boxes.new_tensor([len(first.boxes), len(second.boxes)])
    first_count, second_count = mean_over_processes(counts).clamp(min=1).unbind()
    return first_count, second_count


def check_thresholds(iou_thresholds: Sequence[float]) -> None:
    """Refuse thresholds between which no IoU can lie, or below which none.

    Raises:
        UserError: they aren't two numbers in order, above 0 and at most 1.
    """
    if len(iou_thresholds) != 2 or not 0 < iou_thresholds[0] <= iou_thresholds[1] <= 1:
        raise UserError(
            f"MODEL.REPPOINTS.IOU_THRESHOLDS is {list(iou_thresholds)}: give two numbers above 0"
            " and at most 1, the smaller first, such as [0.4, 0.5]."
        )
