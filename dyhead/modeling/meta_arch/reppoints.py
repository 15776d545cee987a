"""RepPoints as a meta-architecture (Yang et al., ICCV 2019)."""

from collections.abc import Sequence
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
from dyhead.modeling.meta_arch.dense_detector import (
    DenseDetector,
    DensePredictions,
    flatten_map,
    head_levels,
    trunk_arguments,
)
from dyhead.modeling.meta_arch.dense_losses import class_loss, mean_over_processes
from dyhead.modeling.meta_arch.locations import build_location_generator
from dyhead.modeling.meta_arch.positives import Positives, find_positives
from dyhead.modeling.meta_arch.reppoints_assignment import (
    assign_by_location,
    find_refined_positives,
)
from dyhead.modeling.meta_arch.reppoints_boxes import PointBoxTransform
from dyhead.modeling.meta_arch.reppoints_head import RepPointsHead
from dyhead.modeling.meta_arch.towers import check_topk, shared_channels, tower_depth

NO_LOSS_LOGIT = -1e4  # its focal loss as background is 0, in float16 too


class PointPredictions(DensePredictions):
    """Scores and refined boxes, and beside them the initial boxes, which training needs."""

    initial_deltas: list[Tensor]  # per level (N, R, 4)

    def __new__(
        cls, class_logits: list[Tensor], initial: list[Tensor], refined: list[Tensor]
    ) -> "PointPredictions":
        """Lists over the levels, of (N, R, K), (N, R, 4) and (N, R, 4)."""
        predictions = super().__new__(cls, class_logits, refined, None)
        predictions.initial_deltas = initial
        return predictions


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
        smooth_l1_beta: where the loss on boxes turns from square to linear.
        init_loss_weight: weight of the loss on the initial boxes.
        refine_loss_weight: weight of the loss on the refined boxes.
        dense_detector: see `DenseDetector`; the anchors are locations, the head a `RepPointsHead`.

    Raises:
        UserError: the IoU thresholds aren't two numbers in order, or `topk` is not positive.
    """

    @configurable
    def __init__(
        self,
        *,
        base_scale: float = 4.0,
        topk: int = 1,
        iou_thresholds: Sequence[float] = (0.4, 0.5),
        focal_loss_alpha: float = 0.25,
        focal_loss_gamma: float = 2.0,
        smooth_l1_beta: float = 0.11,
        init_loss_weight: float = 0.5,
        refine_loss_weight: float = 1.0,
        **dense_detector: Any,
    ) -> None:
        super().__init__(**dense_detector)
        check_topk(topk)
        check_thresholds(iou_thresholds)
        self.base_scale = base_scale
        self.topk = topk
        self.background_below, self.positive_from = iou_thresholds
        self.focal_loss_alpha = focal_loss_alpha
        self.focal_loss_gamma = focal_loss_gamma
        self.smooth_l1_beta = smooth_l1_beta
        self.init_loss_weight = init_loss_weight
        self.refine_loss_weight = refine_loss_weight

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        """Constructor arguments from MODEL.REPPOINTS and the backbone's keys."""
        section = cfg.MODEL.REPPOINTS
        backbone = build_backbone(cfg)
        levels = head_levels(section, backbone)
        return trunk_arguments(cfg, section, backbone) | {
            "head": build_head(section, levels, tower_depth(section.NUM_CONVS, backbone)),
            "anchor_generator": build_location_generator(levels),
            "box2box_transform": PointBoxTransform(),
            "base_scale": section.POINT_BASE_SCALE,
            "topk": section.TOPK,
            "iou_thresholds": section.IOU_THRESHOLDS,
            "focal_loss_alpha": section.FOCAL_LOSS_ALPHA,
            "focal_loss_gamma": section.FOCAL_LOSS_GAMMA,
            "smooth_l1_beta": section.SMOOTH_L1_BETA,
            "init_loss_weight": section.INIT_LOSS_WEIGHT,
            "refine_loss_weight": section.REFINE_LOSS_WEIGHT,
            "clip_before_nms": section.CLIP_BEFORE_NMS,
        }

    def predict(self, features: list[Tensor]) -> PointPredictions:
        """See `DenseDetector.predict`; there is no quality, but there are initial boxes."""
        logits, initial, refined = self.head(features)
        return PointPredictions(
            [flatten_map(level, self.num_classes) for level in logits],
            [flatten_map(level, 4) for level in initial],
            [flatten_map(level, 4) for level in refined],
        )

    def losses(
        self,
        anchors: list[Tensor],
        predictions: DensePredictions,
        gt_instances: list[Instances],
    ) -> dict[str, Tensor]:
        """See `DenseDetector.losses`; all three stay connected to the graph without positives."""
        assert isinstance(predictions, PointPredictions), "predict() gives these"
        locations = torch.cat(anchors)
        initial = self._boxes(predictions.initial_deltas, locations)
        refined = self._boxes(predictions.box_deltas, locations)

        by_location = partial(
            assign_by_location, anchors, base_scale=self.base_scale, topk=self.topk
        )
        first = find_positives(gt_instances, by_location)
        second, ignored = find_refined_positives(
            gt_instances,
            initial.detach(),
            background_below=self.background_below,
            positive_from=self.positive_from,
        )
        first_count, second_count = mean_counts(first, second)
        units = self.base_scale * (locations[:, 2] - locations[:, 0])
        logits = torch.cat(predictions.class_logits, dim=1)
        return {
            "loss_cls": class_loss(
                logits.masked_fill(ignored[..., None], NO_LOSS_LOGIT),
                second,
                alpha=self.focal_loss_alpha,
                gamma=self.focal_loss_gamma,
                normalizer=second_count,
            ),
            "loss_pts_init": self.init_loss_weight
            * points_loss(initial, first, units, self.smooth_l1_beta, first_count),
            "loss_pts_refine": self.refine_loss_weight
            * points_loss(refined, second, units, self.smooth_l1_beta, second_count),
        }

    def _boxes(self, deltas: list[Tensor], locations: Tensor) -> Tensor:
        """Boxes (N, T, 4), XYXY in pixels, from deltas (N, R, 4) per level."""
        boxes: Tensor = self.box2box_transform.apply_deltas(torch.cat(deltas, dim=1), locations)
        return boxes


def build_head(section: CfgNode, levels: list[ShapeSpec], num_convs: int) -> RepPointsHead:
    """The head for feature maps of the given shapes, by MODEL.REPPOINTS."""
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


def points_loss(
    boxes: Tensor, positives: Positives, units: Tensor, beta: float, normalizer: Tensor
) -> Tensor:
    """Smooth L1 loss on the boxes of positive locations, summed over their four sides.

    Args:
        boxes: (N, T, 4), of all locations, XYXY in pixels.
        positives: where an object's box is to be met.
        units: (T,), pixels that count as 1.
        beta: where the loss turns from square to linear, in these units.
        normalizer: (), what the sum is divided by.
    """
    unit = units[positives.anchors, None]
    predicted = boxes[positives.images, positives.anchors] / unit
    total = F.smooth_l1_loss(predicted, positives.boxes / unit, beta=beta, reduction="sum")
    return total / normalizer


@torch.no_grad()
def mean_counts(first: Positives, second: Positives) -> tuple[Tensor, Tensor]:
    """How many positives both stages have, at least 1: means over the processes.

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
