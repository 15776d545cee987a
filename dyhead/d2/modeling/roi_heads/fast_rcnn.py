"""Class and box of each region (Fast R-CNN, arXiv:1504.08083).

Shapes: R regions of all images together, C features, K classes without background; boxes are
absolute x0, y0, x1, y1 in pixels.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...config import CfgNode, check_switched_off, configurable
from ...layers import ShapeSpec, cat, cross_entropy, nonzero_tuple
from ...structures import Instances
from ...utils.events import get_event_storage, has_event_storage
from ..box_regression import Box2BoxTransform, _dense_box_regression_loss, check_box_reg_loss_type
from .box_head import flat_size
from .fast_rcnn_inference import fast_rcnn_inference

__all__ = ["FastRCNNOutputLayers", "fast_rcnn_inference"]

Predictions = Sequence[Tensor]  # scores (R, K + 1) and deltas (R, K * 4) or (R, 4)


class FastRCNNOutputLayers(nn.Module):
    """Two linear layers: the scores of the classes and of the background, and the boxes' deltas.

    State-dict keys: `cls_score`, `bbox_pred`.
    """

    @configurable
    def __init__(
        self,
        input_shape: ShapeSpec | int,
        *,
        box2box_transform: Box2BoxTransform,
        num_classes: int,
        test_score_thresh: float = 0.0,
        test_nms_thresh: float = 0.5,
        test_topk_per_image: int = 100,
        cls_agnostic_bbox_reg: bool = False,
        smooth_l1_beta: float = 0.0,
        box_reg_loss_type: str = "smooth_l1",
        loss_weight: float | dict[str, float] = 1.0,
        use_sigmoid_ce: bool = False,
    ) -> None:
        """Build the layers.

        Args:
            input_shape: shape of the features of a region, or their number.
            box2box_transform: how boxes become deltas and back.
            num_classes: K.
            test_score_thresh: detections have a score above this.
            test_nms_thresh: IoU above which the worse of two detections of a class goes.
            test_topk_per_image: detections to keep per image; a negative number keeps all.
            cls_agnostic_bbox_reg: whether all classes share a region's deltas.
            smooth_l1_beta: where the smooth L1 loss turns linear; 0 is the L1 loss.
            box_reg_loss_type: "smooth_l1", "giou", "diou" or "ciou".
            loss_weight: factor of the losses, or a factor for each by its name.
            use_sigmoid_ce: whether classes are judged one by one, instead of by a softmax.

        Raises:
            ValueError: there is no such box loss.
        """
        super().__init__()
        check_box_reg_loss_type(box_reg_loss_type, "MODEL.ROI_BOX_HEAD")
        if isinstance(input_shape, int):
            input_shape = ShapeSpec(channels=input_shape)
        self.num_classes = num_classes
        box_dim = len(box2box_transform.weights)
        num_boxes = 1 if cls_agnostic_bbox_reg else num_classes
        self.cls_score = nn.Linear(flat_size(input_shape), num_classes + 1)
        self.bbox_pred = nn.Linear(flat_size(input_shape), num_boxes * box_dim)
        for layer, std in ((self.cls_score, 0.01), (self.bbox_pred, 0.001)):
            nn.init.normal_(layer.weight, std=std)
            nn.init.zeros_(layer.bias)
        self.box2box_transform = box2box_transform
        self.test_score_thresh = test_score_thresh
        self.test_nms_thresh = test_nms_thresh
        self.test_topk_per_image = test_topk_per_image
        self.smooth_l1_beta = smooth_l1_beta
        self.box_reg_loss_type = box_reg_loss_type
        if not isinstance(loss_weight, dict):
            loss_weight = dict.fromkeys(("loss_cls", "loss_box_reg"), loss_weight)
        self.loss_weight = loss_weight
        self.use_sigmoid_ce = use_sigmoid_ce

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: ShapeSpec) -> dict[str, Any]:
        """Arguments of the constructor from a config.

        Raises:
            ValueError: the config asks for the federated loss.
        """
        check_switched_off(cfg, "MODEL.ROI_BOX_HEAD.USE_FED_LOSS")
        head = cfg.MODEL.ROI_BOX_HEAD
        return {
            "input_shape": input_shape,
            "box2box_transform": Box2BoxTransform(weights=head.BBOX_REG_WEIGHTS),
            "num_classes": cfg.MODEL.ROI_HEADS.NUM_CLASSES,
            "test_score_thresh": cfg.MODEL.ROI_HEADS.SCORE_THRESH_TEST,
            "test_nms_thresh": cfg.MODEL.ROI_HEADS.NMS_THRESH_TEST,
            "test_topk_per_image": cfg.TEST.DETECTIONS_PER_IMAGE,
            "cls_agnostic_bbox_reg": head.CLS_AGNOSTIC_BBOX_REG,
            "smooth_l1_beta": head.SMOOTH_L1_BETA,
            "box_reg_loss_type": head.BBOX_REG_LOSS_TYPE,
            "loss_weight": {"loss_box_reg": head.BBOX_REG_LOSS_WEIGHT},
            "use_sigmoid_ce": head.USE_SIGMOID_CE,
        }

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Map features (R, C) or (R, C, H, W) to scores (R, K + 1) and deltas (R, K * 4 or 4)."""
        x = x.flatten(start_dim=1)
        return self.cls_score(x), self.bbox_pred(x)

    def losses(self, predictions: Predictions, proposals: list[Instances]) -> dict[str, Tensor]:
        """Losses of the sampled regions.

        Args:
            predictions: what `forward` gives.
            proposals: regions of each image with "proposal_boxes", "gt_classes" (K for background)
                and, where the image has objects, "gt_boxes".

        Returns:
            "loss_cls" and "loss_box_reg"; without regions both are 0.
        """
        scores, deltas = predictions
        gt_classes, boxes, gt_boxes = targets_of(proposals, scores.device)
        _log_classification_stats(scores, gt_classes)
        classify = self.sigmoid_cross_entropy_loss if self.use_sigmoid_ce else cross_entropy
        losses = {
            "loss_cls": classify(scores, gt_classes),
            "loss_box_reg": self.box_reg_loss(boxes, gt_boxes, deltas, gt_classes),
        }
        return {name: loss * self.loss_weight.get(name, 1.0) for name, loss in losses.items()}

    def sigmoid_cross_entropy_loss(self, pred_class_logits: Tensor, gt_classes: Tensor) -> Tensor:
        """Sum of the binary cross entropies of the K classes, averaged over the regions."""
        logits = pred_class_logits[:, :-1]
        targets = F.one_hot(gt_classes, pred_class_logits.shape[1])[:, :-1].to(logits.dtype)
        loss = F.binary_cross_entropy_with_logits(logits, targets, reduction="sum")
        return loss / max(len(logits), 1)

    def box_reg_loss(
        self, proposal_boxes: Tensor, gt_boxes: Tensor, pred_deltas: Tensor, gt_classes: Tensor
    ) -> Tensor:
        """Box loss of the foreground, divided by the number of all regions.

        Dividing by the number of foreground regions would give each of them more weight in images
        that have few.

        Args:
            proposal_boxes: (R, 4).
            gt_boxes: (R, 4).
            pred_deltas: (R, K * 4) or (R, 4).
            gt_classes: (R,), K for background.
        """
        foreground = nonzero_tuple((gt_classes >= 0) & (gt_classes < self.num_classes))[0]
        by_class = pred_deltas.unflatten(1, (-1, proposal_boxes.shape[1]))
        shared = by_class.shape[1] == 1
        deltas = by_class[foreground, 0 if shared else gt_classes[foreground]]
        loss = _dense_box_regression_loss(
            [proposal_boxes[foreground]],
            self.box2box_transform,
            [deltas[None]],
            [gt_boxes[foreground]],
            torch.ones(1, len(foreground), dtype=torch.bool, device=deltas.device),
            self.box_reg_loss_type,
            self.smooth_l1_beta,
        )
        return loss / max(len(gt_classes), 1)

    def inference(
        self, predictions: Predictions, proposals: list[Instances]
    ) -> tuple[list[Instances], list[Tensor]]:
        """Detections of each image, and the region of each; see `fast_rcnn_inference`."""
        return fast_rcnn_inference(
            self.predict_boxes(predictions, proposals),
            self.predict_probs(predictions, proposals),
            [regions.image_size for regions in proposals],
            self.test_score_thresh,
            self.test_nms_thresh,
            self.test_topk_per_image,
        )

    def predict_boxes_for_gt_classes(
        self, predictions: Predictions, proposals: list[Instances]
    ) -> list[Tensor]:
        """For each image (R_i, 4) boxes decoded for the regions' true classes.

        For background it is the last class, whose box means nothing.
        """
        boxes = self.predict_boxes(predictions, proposals)
        chosen = []
        for regions, of_classes in zip(proposals, boxes, strict=True):
            by_class = of_classes.unflatten(1, (-1, 4))
            classes = regions.gt_classes.clamp(0, by_class.shape[1] - 1)
            chosen.append(by_class[torch.arange(len(classes), device=classes.device), classes])
        return chosen

    def predict_boxes(self, predictions: Predictions, proposals: list[Instances]) -> list[Tensor]:
        """For each image (R_i, K * 4) or (R_i, 4) decoded boxes."""
        if not proposals:
            return []
        boxes = cat([regions.proposal_boxes.tensor for regions in proposals])
        decoded = self.box2box_transform.apply_deltas(predictions[1], boxes)
        return list(decoded.split([len(regions) for regions in proposals]))

    def predict_probs(self, predictions: Predictions, proposals: list[Instances]) -> list[Tensor]:
        """For each image (R_i, K + 1) probabilities, the background's last."""
        scores = predictions[0]
        probabilities = scores.sigmoid() if self.use_sigmoid_ce else scores.softmax(dim=-1)
        return list(probabilities.split([len(regions) for regions in proposals]))


def targets_of(proposals: list[Instances], device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """(R,) true classes, (R, 4) boxes and (R, 4) boxes of the objects, of all images together."""
    if not proposals:
        return torch.zeros(0, dtype=torch.long, device=device), *torch.zeros(2, 0, 4, device=device)
    # Regions of an image without objects are all background: their boxes are never looked at.
    gt_boxes = [
        (regions.gt_boxes if regions.has("gt_boxes") else regions.proposal_boxes).tensor
        for regions in proposals
    ]
    return (
        cat([regions.gt_classes for regions in proposals]),
        cat([regions.proposal_boxes.tensor for regions in proposals]),
        cat(gt_boxes),
    )


def _log_classification_stats(
    pred_logits: Tensor, gt_classes: Tensor, prefix: str = "fast_rcnn"
) -> None:
    """Put shares of rightly classified and of missed regions into the event storage."""
    if not len(gt_classes) or not has_event_storage():
        return
    background = pred_logits.shape[1] - 1
    predicted = pred_logits.argmax(dim=1)
    correct = predicted == gt_classes
    foreground = (gt_classes >= 0) & (gt_classes < background)
    storage = get_event_storage()
    storage.put_scalar(f"{prefix}/cls_accuracy", share(correct))
    if foreground.any():
        storage.put_scalar(f"{prefix}/fg_cls_accuracy", share(correct[foreground]))
        missed = share(predicted[foreground] == background)
        storage.put_scalar(f"{prefix}/false_negative", missed)


def share(holds: Tensor) -> float:
    """Share of True in a mask that is not empty."""
    return float(holds.sum()) / len(holds)
