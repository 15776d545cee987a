"""The region proposal network (Faster R-CNN, arXiv:1506.01497).

Shapes: N images, L levels of H_l x W_l positions, A anchors per position, M_l = H_l * W_l * A,
M anchors on all levels; boxes are absolute x0, y0, x1, y1 in pixels.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dyhead.box_geometry import match_boxes

from ...config import CfgNode, configurable
from ...layers import ShapeSpec, cat
from ...structures import Boxes, ImageList, Instances
from ...utils.events import get_event_storage, has_event_storage
from ..anchor_generator import build_anchor_generator
from ..anchor_order import permute_to_N_HWA_K
from ..box_regression import Box2BoxTransform, _dense_box_regression_loss, check_box_reg_loss_type
from ..input_shapes import named_shapes
from ..matcher import Matcher
from ..sampling import subsample_labels
from .build import PROPOSAL_GENERATOR_REGISTRY
from .proposal_utils import find_top_rpn_proposals
from .rpn_head import RPN_HEAD_REGISTRY, StandardRPNHead, build_rpn_head

__all__ = ["RPN", "RPN_HEAD_REGISTRY", "StandardRPNHead", "build_rpn_head"]

IGNORED, NEGATIVE, POSITIVE = -1, 0, 1


@PROPOSAL_GENERATOR_REGISTRY.register()
class RPN(nn.Module):
    """Scores anchors by whether they hold an object, and moves them onto it.

    State-dict keys: `rpn_head`.
    """

    rpn_head: Any
    anchor_generator: Any

    @configurable
    def __init__(
        self,
        *,
        in_features: list[str],
        head: nn.Module,
        anchor_generator: nn.Module,
        anchor_matcher: Matcher,
        box2box_transform: Box2BoxTransform,
        batch_size_per_image: int,
        positive_fraction: float,
        pre_nms_topk: tuple[int, int],
        post_nms_topk: tuple[int, int],
        nms_thresh: float = 0.7,
        min_box_size: float = 0.0,
        anchor_boundary_thresh: float = -1.0,
        loss_weight: float | dict[str, float] = 1.0,
        box_reg_loss_type: str = "smooth_l1",
        smooth_l1_beta: float = 0.0,
    ) -> None:
        """Take the parts.

        Args:
            in_features: names of the features to use.
            head: called like `StandardRPNHead`.
            anchor_generator: called like `DefaultAnchorGenerator`.
            anchor_matcher: matches anchors with objects by IoU.
            box2box_transform: how boxes become deltas and back.
            batch_size_per_image: anchors of an image that the losses are computed on.
            positive_fraction: largest share of positive ones among them.
            pre_nms_topk: proposals to keep per level before NMS, in training and at inference.
            post_nms_topk: proposals to keep of all levels after NMS, likewise.
            nms_thresh: IoU above which the worse of two proposals of a level is removed.
            min_box_size: pixels that both sides of a proposal have to exceed.
            anchor_boundary_thresh: ignore anchors that stick out of the image by more pixels than
                this; a negative number ignores none.
            loss_weight: factor of the losses, or a factor for each by its name.
            box_reg_loss_type: "smooth_l1", "giou", "diou" or "ciou".
            smooth_l1_beta: where the smooth L1 loss turns linear; 0 is the L1 loss.

        Raises:
            ValueError: there is no such box loss.
        """
        super().__init__()
        check_box_reg_loss_type(box_reg_loss_type, "MODEL.RPN")
        self.in_features = in_features
        self.rpn_head = head
        self.anchor_generator = anchor_generator
        self.anchor_matcher = anchor_matcher
        self.box2box_transform = box2box_transform
        self.batch_size_per_image = batch_size_per_image
        self.positive_fraction = positive_fraction
        # By whether the module is in training.
        self.pre_nms_topk = {True: pre_nms_topk[0], False: pre_nms_topk[1]}
        self.post_nms_topk = {True: post_nms_topk[0], False: post_nms_topk[1]}
        self.nms_thresh = nms_thresh
        self.min_box_size = float(min_box_size)
        self.anchor_boundary_thresh: Any = anchor_boundary_thresh
        if not isinstance(loss_weight, dict):
            loss_weight = dict.fromkeys(("loss_rpn_cls", "loss_rpn_loc"), loss_weight)
        self.loss_weight = loss_weight
        self.box_reg_loss_type = box_reg_loss_type
        self.smooth_l1_beta = smooth_l1_beta

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: dict[str, ShapeSpec]) -> dict[str, Any]:
        """Arguments of the constructor from a config.

        Raises:
            ValueError: MODEL.RPN.IN_FEATURES names a feature that the backbone does not give.
        """
        rpn = cfg.MODEL.RPN
        levels = named_shapes(input_shape, rpn.IN_FEATURES, "MODEL.RPN.IN_FEATURES")
        return {
            "in_features": rpn.IN_FEATURES,
            "anchor_generator": build_anchor_generator(cfg, levels),
            "head": build_rpn_head(cfg, levels),
            "anchor_matcher": Matcher(
                rpn.IOU_THRESHOLDS, rpn.IOU_LABELS, allow_low_quality_matches=True
            ),
            "box2box_transform": Box2BoxTransform(weights=rpn.BBOX_REG_WEIGHTS),
            "batch_size_per_image": rpn.BATCH_SIZE_PER_IMAGE,
            "positive_fraction": rpn.POSITIVE_FRACTION,
            "pre_nms_topk": (rpn.PRE_NMS_TOPK_TRAIN, rpn.PRE_NMS_TOPK_TEST),
            "post_nms_topk": (rpn.POST_NMS_TOPK_TRAIN, rpn.POST_NMS_TOPK_TEST),
            "nms_thresh": rpn.NMS_THRESH,
            "min_box_size": cfg.MODEL.PROPOSAL_GENERATOR.MIN_SIZE,
            "anchor_boundary_thresh": rpn.BOUNDARY_THRESH,
            "loss_weight": {
                "loss_rpn_cls": rpn.LOSS_WEIGHT,
                "loss_rpn_loc": rpn.LOSS_WEIGHT * rpn.BBOX_REG_LOSS_WEIGHT,
            },
            "box_reg_loss_type": rpn.BBOX_REG_LOSS_TYPE,
            "smooth_l1_beta": rpn.SMOOTH_L1_BETA,
        }

    def forward(
        self,
        images: ImageList,
        features: dict[str, Tensor],
        gt_instances: list[Instances] | None = None,
    ) -> tuple[list[Instances], dict[str, Tensor]]:
        """Propose regions.

        Args:
            images: the batch; only its image sizes are looked at.
            features: (N, C, H_l, W_l) by name.
            gt_instances: objects of each image with "gt_boxes", for training.

        Returns:
            For each image "proposal_boxes" and "objectness_logits", best first; and the losses
            "loss_rpn_cls" and "loss_rpn_loc", none at inference.

        Raises:
            ValueError: training without objects.
        """
        levels = [features[name] for name in self.in_features]
        anchors = self.anchor_generator(levels)
        logits, deltas = self.rpn_head(levels)
        logits = [level.permute(0, 2, 3, 1).flatten(1) for level in logits]
        deltas = [permute_to_N_HWA_K(level, self.anchor_generator.box_dim) for level in deltas]
        losses: dict[str, Tensor] = {}
        if self.training:
            if gt_instances is None:
                raise ValueError("The RPN needs the images' objects (gt_instances) in training.")
            gt_labels, gt_boxes = self.label_and_sample_anchors(anchors, gt_instances)
            losses = self.losses(anchors, logits, gt_labels, deltas, gt_boxes)
        return self.predict_proposals(anchors, logits, deltas, images.image_sizes), losses

    @torch.no_grad()
    def label_and_sample_anchors(
        self, anchors: list[Boxes], gt_instances: list[Instances]
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Choose the anchors to train on.

        Returns:
            For each image (M,) labels, 1 for positive, 0 for negative, -1 for ignored anchors, and
            (M, 4) boxes of the objects that the anchors are matched with (zeros without objects).
        """
        all_anchors = Boxes.cat(anchors)
        labels, boxes = [], []
        for instances in gt_instances:
            gt_boxes = instances.gt_boxes
            # `box_geometry` imports no host, so it is told which class follows the plain rules.
            matches, label = match_boxes(
                self.anchor_matcher, gt_boxes.tensor, all_anchors.tensor, Matcher
            )
            if self.anchor_boundary_thresh >= 0:
                inside = all_anchors.inside_box(instances.image_size, self.anchor_boundary_thresh)
                label[~inside] = IGNORED
            labels.append(self._subsample_labels(label))
            has_objects = len(gt_boxes) > 0
            background = torch.zeros_like(all_anchors.tensor)
            boxes.append(gt_boxes.tensor[matches] if has_objects else background)
        return labels, boxes

    def _subsample_labels(self, label: Tensor) -> Tensor:
        positives, negatives = subsample_labels(
            label, self.batch_size_per_image, self.positive_fraction, NEGATIVE
        )
        sampled = torch.full_like(label, IGNORED)
        sampled[positives] = POSITIVE
        sampled[negatives] = NEGATIVE
        return sampled

    def losses(
        self,
        anchors: list[Boxes],
        pred_objectness_logits: list[Tensor],
        gt_labels: list[Tensor],
        pred_anchor_deltas: list[Tensor],
        gt_boxes: list[Tensor],
    ) -> dict[str, Tensor]:
        """Losses over the sampled anchors, divided by the number of samples asked for.

        Args:
            anchors: L times M_l boxes.
            pred_objectness_logits: L tensors (N, M_l).
            gt_labels: as `label_and_sample_anchors` gives them.
            pred_anchor_deltas: L tensors (N, M_l, 4).
            gt_boxes: as `label_and_sample_anchors` gives them.
        """
        labels = torch.stack(gt_labels)
        log_samples(labels)
        sampled = labels != IGNORED
        objectness_loss = F.binary_cross_entropy_with_logits(
            cat(pred_objectness_logits, dim=1)[sampled], labels[sampled].float(), reduction="sum"
        )
        localization_loss = _dense_box_regression_loss(
            [*anchors],
            self.box2box_transform,
            pred_anchor_deltas,
            gt_boxes,
            labels == POSITIVE,
            box_reg_loss_type=self.box_reg_loss_type,
            smooth_l1_beta=self.smooth_l1_beta,
        )
        normalizer = self.batch_size_per_image * len(labels)
        losses = {"loss_rpn_cls": objectness_loss, "loss_rpn_loc": localization_loss}
        return {
            name: loss / normalizer * self.loss_weight.get(name, 1.0)
            for name, loss in losses.items()
        }

    @torch.no_grad()
    def predict_proposals(
        self,
        anchors: list[Boxes],
        pred_objectness_logits: list[Tensor],
        pred_anchor_deltas: list[Tensor],
        image_sizes: list[tuple[int, int]],
    ) -> list[Instances]:
        """Decode and choose proposals; no gradient goes through their coordinates.

        Args and result are those of `losses` and `forward`.
        """
        return find_top_rpn_proposals(
            self._decode_proposals(anchors, pred_anchor_deltas),
            pred_objectness_logits,
            image_sizes,
            self.nms_thresh,
            self.pre_nms_topk[self.training],
            self.post_nms_topk[self.training],
            self.min_box_size,
            self.training,
        )

    def _decode_proposals(
        self, anchors: list[Boxes], pred_anchor_deltas: list[Tensor]
    ) -> list[Tensor]:
        proposals = []
        for boxes, deltas in zip(anchors, pred_anchor_deltas, strict=True):
            sources = boxes.tensor.expand(len(deltas), -1, -1).flatten(0, 1)
            decoded = self.box2box_transform.apply_deltas(deltas.flatten(0, 1), sources)
            proposals.append(decoded.view_as(deltas))
        return proposals


def log_samples(labels: Tensor) -> None:
    """Put the mean numbers of positive and negative samples per image into the event storage."""
    if has_event_storage():
        storage = get_event_storage()
        for name, label in (("pos", POSITIVE), ("neg", NEGATIVE)):
            count = int((labels == label).sum())
            storage.put_scalar(f"rpn/num_{name}_anchors", count / len(labels))
