"""RetinaNet with predictors that may sit on the pyramid itself.

Detectron2's RetinaNet always has towers, and so has the official RetinaNet with DyHead; in the
paper DyHead takes their place (Dai et al., CVPR 2021, section 3.4).
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dyhead.box_geometry import match_boxes
from dyhead.d2.config import CfgNode, configurable
from dyhead.d2.modeling.anchor_generator import build_anchor_generator
from dyhead.d2.modeling.backbone import build_backbone
from dyhead.d2.modeling.box_regression import Box2BoxTransform
from dyhead.d2.modeling.matcher import Matcher
from dyhead.d2.modeling.meta_arch import META_ARCH_REGISTRY
from dyhead.d2.structures import Instances
from dyhead.d2.utils.events import get_event_storage
from dyhead.errors import UserError
from dyhead.modeling.meta_arch.assignment import BACKGROUND, IGNORED, find_positives
from dyhead.modeling.meta_arch.dense_arguments import head_levels, trunk_arguments
from dyhead.modeling.meta_arch.dense_detector import DenseDetector, DensePredictions
from dyhead.modeling.meta_arch.dense_losses import SMOOTH_L1, box_loss, check_box_loss, class_loss
from dyhead.modeling.meta_arch.towers import (
    anchors_per_location,
    build_predictor,
    build_tower,
    initialise_head,
    shared_channels,
    tower_depth,
)

INITIAL_NORMALIZER = 100.0  # positive anchors of a usual batch, until their number is known


class PredictorHead(nn.Module):
    """Class and box predictors with optional towers; state-dict keys as Detectron2's head.

    Args:
        in_channels: channels of every feature map.
        num_classes: K.
        num_anchors: A, anchors per location.
        num_convs: convolutions per tower; 0 for no towers.
        use_gn: GroupNorm in the towers.
        predictor_kernel_size: 3 as Detectron2's, or 1.
        prior_prob: class score of every anchor at initialisation.
        predictor_init_std: standard deviation of the predictors' weights: see `initialise_head`.

    Raises:
        UserError: the predictors' kernel size is even, or GroupNorm does not fit the channels.
    """

    def __init__(
        self,
        *,
        in_channels: int,
        num_classes: int,
        num_anchors: int,
        num_convs: int = 0,
        use_gn: bool = False,
        predictor_kernel_size: int = 3,
        prior_prob: float = 0.01,
        predictor_init_std: float = 0.01,
    ) -> None:
        super().__init__()
        size = predictor_kernel_size
        self.cls_subnet = build_tower(in_channels, in_channels, num_convs, use_gn)
        self.bbox_subnet = build_tower(in_channels, in_channels, num_convs, use_gn)
        self.cls_score = build_predictor(in_channels, num_anchors * num_classes, size)
        self.bbox_pred = build_predictor(in_channels, num_anchors * 4, size)
        initialise_head(
            (self.cls_subnet, self.bbox_subnet),
            (self.cls_score, self.bbox_pred),
            predictor_init_std=predictor_init_std,
            prior_prob=prior_prob,
        )

    def forward(self, features: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """Predict class logits (N, A * K, H, W) and deltas (N, A * 4, H, W) on every level."""
        logits = [self.cls_score(self.cls_subnet(level)) for level in features]
        deltas = [self.bbox_pred(self.bbox_subnet(level)) for level in features]
        return logits, deltas


@META_ARCH_REGISTRY.register()
class DyHeadRetinaNet(DenseDetector):
    """A RetinaNet (Lin et al., ICCV 2017) as Detectron2's, but for its head: `PredictorHead`.

    MODEL.RETINANET.NUM_CONVS 0 leaves the towers out where DyHead has blocks, and means 4 on a
    DyHead backbone that has none, as for ATSS.

    Args:
        anchor_matcher: (M, T) IoUs of objects and anchors to matches and labels.
        focal_loss_alpha: weight of the positive class, 1 - alpha that of the negative one.
        focal_loss_gamma: exponent that takes weight from easy examples.
        smooth_l1_beta: where the smooth L1 loss turns from square to linear.
        box_reg_loss_type: "smooth_l1" on the deltas, or a key of `BOX_LOSSES`.
        dense_detector: see `DenseDetector`.

    Raises:
        UserError: there is no such box loss.
    """

    config_section = "RETINANET"

    @configurable
    def __init__(
        self,
        *,
        anchor_matcher: Any,
        focal_loss_alpha: float = 0.25,
        focal_loss_gamma: float = 2.0,
        smooth_l1_beta: float = 0.0,
        box_reg_loss_type: str = SMOOTH_L1,
        **dense_detector: Any,
    ) -> None:
        super().__init__(**dense_detector)
        check_box_loss(self.config_key("BBOX_REG_LOSS_TYPE"), box_reg_loss_type, SMOOTH_L1)
        self.anchor_matcher = anchor_matcher
        self.focal_loss_alpha = focal_loss_alpha
        self.focal_loss_gamma = focal_loss_gamma
        self.smooth_l1_beta = smooth_l1_beta
        self.box_reg_loss_type = box_reg_loss_type

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        """Read constructor arguments from MODEL.RETINANET, MODEL.DYHEAD_RETINANET and the backbone.

        Raises:
            UserError: the backbone lacks a feature of MODEL.RETINANET.IN_FEATURES, or the towers
                cannot have the norm.
        """
        retinanet = cfg.MODEL.RETINANET
        use_gn = wants_group_norm(retinanet.NORM)
        backbone = build_backbone(cfg)
        levels = head_levels(retinanet, backbone)
        anchor_generator = build_anchor_generator(cfg, levels)
        return {
            **trunk_arguments(cfg, retinanet, backbone),
            "head": PredictorHead(
                in_channels=shared_channels(levels),
                num_classes=retinanet.NUM_CLASSES,
                num_anchors=anchors_per_location(anchor_generator),
                num_convs=tower_depth(retinanet.NUM_CONVS, backbone),
                use_gn=use_gn,
                predictor_kernel_size=cfg.MODEL.DYHEAD_RETINANET.PREDICTOR_KERNEL_SIZE,
                prior_prob=retinanet.PRIOR_PROB,
                predictor_init_std=cfg.MODEL.DYHEAD_RETINANET.PREDICTOR_INIT_STD,
            ),
            "anchor_generator": anchor_generator,
            "box2box_transform": Box2BoxTransform(weights=tuple(retinanet.BBOX_REG_WEIGHTS)),
            "anchor_matcher": Matcher(
                retinanet.IOU_THRESHOLDS, retinanet.IOU_LABELS, allow_low_quality_matches=True
            ),
            "focal_loss_alpha": retinanet.FOCAL_LOSS_ALPHA,
            "focal_loss_gamma": retinanet.FOCAL_LOSS_GAMMA,
            "smooth_l1_beta": retinanet.SMOOTH_L1_LOSS_BETA,
            "box_reg_loss_type": retinanet.BBOX_REG_LOSS_TYPE,
            "test_score_thresh": retinanet.SCORE_THRESH_TEST,
            "test_topk_candidates": retinanet.TOPK_CANDIDATES_TEST,
            "test_nms_thresh": retinanet.NMS_THRESH_TEST,
        }

    def losses(
        self,
        anchors: list[Tensor],
        predictions: DensePredictions,
        gt_instances: list[Instances],
    ) -> dict[str, Tensor]:
        """Compute the losses, both divided by a moving average of the number of positives."""
        all_anchors = torch.cat(anchors)
        assignments = predictions.assign(self.assign, anchors, gt_instances)
        positives = find_positives(gt_instances, assignments)
        count = len(positives.anchors)
        get_event_storage().put_scalar("num_pos_anchors", count / len(gt_instances))
        # A batch of few images has a number of positives that jumps; its average does not.
        normalizer = self._ema_update("loss_normalizer", max(count, 1), INITIAL_NORMALIZER)
        deltas = torch.cat(predictions.box_deltas, dim=1)[positives.images, positives.anchors]
        chosen_anchors = all_anchors[positives.anchors]
        return {
            "loss_cls": class_loss(
                torch.cat(predictions.class_logits, dim=1),
                positives,
                alpha=self.focal_loss_alpha,
                gamma=self.focal_loss_gamma,
                normalizer=normalizer,
                ignored=assignments == IGNORED,
            ),
            "loss_box_reg": self._box_loss(deltas, chosen_anchors, positives.boxes, normalizer),
        }

    @torch.no_grad()
    def assign(self, anchors: list[Tensor], boxes: Tensor) -> Tensor:
        """Choose the object that every anchor has to detect, by the matcher's rule.

        Args:
            anchors: per level (R, 4), XYXY in pixels.
            boxes: (M, 4), the objects of one image, possibly none.

        Returns:
            (T,), object indices, BACKGROUND or IGNORED.
        """
        matches, labels = match_boxes(self.anchor_matcher, boxes, torch.cat(anchors), Matcher)
        if len(boxes) == 0:
            return torch.full_like(matches, BACKGROUND)
        unmatched = torch.where(labels == 0, BACKGROUND, IGNORED)
        return torch.where(labels == 1, matches, unmatched)

    def _box_loss(
        self, deltas: Tensor, anchors: Tensor, boxes: Tensor, normalizer: float
    ) -> Tensor:
        """Sum the losses of positive anchors: deltas, anchors and their objects' boxes (P, 4)."""
        if self.box_reg_loss_type != SMOOTH_L1:
            predicted = self.box2box_transform.apply_deltas(deltas, anchors)
            return box_loss(predicted, boxes, self.box_reg_loss_type, normalizer)
        targets = self.box2box_transform.get_deltas(anchors, boxes)
        total = F.smooth_l1_loss(deltas, targets, beta=self.smooth_l1_beta, reduction="sum")
        return total / normalizer


def wants_group_norm(norm: str) -> bool:
    """Tell if MODEL.RETINANET.NORM asks for GroupNorm in the towers.

    Raises:
        UserError: it asks for another norm.
    """
    if norm not in ("", "GN"):
        raise UserError(
            f"MODEL.RETINANET.NORM is {norm!r}: set it to '' or 'GN' for DyHeadRetinaNet, or use"
            " MODEL.META_ARCHITECTURE RetinaNet."
        )
    return norm == "GN"
