"""The common part of ATSS and FCOS: classes, boxes and centre-ness, and their losses."""

from abc import abstractmethod
from typing import Any

import torch
from torch import Tensor

from dyhead.d2.config import CfgNode
from dyhead.d2.layers import ShapeSpec
from dyhead.d2.structures import Instances
from dyhead.modeling.meta_arch.assignment import find_positives
from dyhead.modeling.meta_arch.dense_arguments import inference_arguments
from dyhead.modeling.meta_arch.dense_detector import DenseDetector, DensePredictions
from dyhead.modeling.meta_arch.dense_head import DenseHead
from dyhead.modeling.meta_arch.dense_losses import (
    box_loss,
    centerness_targets,
    check_box_loss,
    class_loss,
    normalizers,
    quality_loss,
)
from dyhead.modeling.meta_arch.towers import shared_channels


class CenternessDetector(DenseDetector):
    """A dense detector whose quality is the centre-ness (Tian et al., ICCV 2019, section 3.3).

    A subclass defines `assign`.

    Args:
        focal_loss_alpha: weight of the positive class, 1 - alpha that of the negative one.
        focal_loss_gamma: exponent that takes weight from easy examples.
        box_reg_loss_type: a key of `BOX_LOSSES`.
        box_reg_loss_weight: weight of the box loss.
        dense_detector: see `DenseDetector`.

    Raises:
        UserError: there is no such box loss.
    """

    def __init__(
        self,
        *,
        focal_loss_alpha: float = 0.25,
        focal_loss_gamma: float = 2.0,
        box_reg_loss_type: str = "giou",
        box_reg_loss_weight: float = 1.0,
        **dense_detector: Any,
    ) -> None:
        super().__init__(**dense_detector)
        check_box_loss(self.config_key("BBOX_REG_LOSS_TYPE"), box_reg_loss_type)
        self.focal_loss_alpha = focal_loss_alpha
        self.focal_loss_gamma = focal_loss_gamma
        self.box_reg_loss_type = box_reg_loss_type
        self.box_reg_loss_weight = box_reg_loss_weight

    @abstractmethod
    def assign(self, anchors: list[Tensor], boxes: Tensor) -> Tensor:
        """Choose the object that every anchor has to detect.

        Args:
            anchors: per level (R, 4), XYXY in pixels of the padded batch.
            boxes: (M, 4), the objects of one image, possibly none.

        Returns:
            (T,), object indices in the order of the levels, BACKGROUND for no object.
        """

    def losses(
        self,
        anchors: list[Tensor],
        predictions: DensePredictions,
        gt_instances: list[Instances],
    ) -> dict[str, Tensor]:
        """Compute the losses; all three stay connected to the graph without positives."""
        assignments = predictions.assign(self.assign, anchors, gt_instances)
        positives = find_positives(gt_instances, assignments)
        chosen = positives.images, positives.anchors
        assert predictions.quality_logits is not None, "a DenseHead gives them"
        quality = torch.cat(predictions.quality_logits, dim=1)[chosen]
        deltas = torch.cat(predictions.box_deltas, dim=1)[chosen]
        chosen_anchors = torch.cat(anchors)[positives.anchors]
        boxes = self.box2box_transform.apply_deltas(deltas, chosen_anchors)
        centerness = centerness_targets(chosen_anchors, positives.boxes)
        num_positives, centerness_sum = normalizers(centerness)
        return {
            "loss_cls": class_loss(
                torch.cat(predictions.class_logits, dim=1),
                positives,
                alpha=self.focal_loss_alpha,
                gamma=self.focal_loss_gamma,
                normalizer=num_positives,
            ),
            "loss_ctr": quality_loss(quality, centerness, num_positives),
            # Weights by centre-ness: the boxes seen from an object's border are the poor ones.
            "loss_box_reg": self.box_reg_loss_weight
            * box_loss(
                boxes, positives.boxes, self.box_reg_loss_type, centerness_sum, weights=centerness
            ),
        }


def centerness_arguments(section: CfgNode) -> dict[str, Any]:
    """Read the constructor arguments that ATSS and FCOS share from their part of the config."""
    return inference_arguments(section) | {
        "focal_loss_alpha": section.FOCAL_LOSS_ALPHA,
        "focal_loss_gamma": section.FOCAL_LOSS_GAMMA,
        "box_reg_loss_type": section.BBOX_REG_LOSS_TYPE,
        "box_reg_loss_weight": section.REG_LOSS_WEIGHT,
        "rank_by_quality": section.RANK_BY_CENTERNESS,
    }


def build_dense_head(section: CfgNode, levels: list[ShapeSpec], **head: Any) -> DenseHead:
    """Build the head for feature maps of the given shapes.

    Args:
        section: the detector's part of the config, such as `cfg.MODEL.ATSS`.
        levels: shapes of the feature maps.
        head: arguments of `DenseHead` that are not in the section.
    """
    return DenseHead(
        in_channels=shared_channels(levels),
        num_levels=len(levels),
        num_classes=section.NUM_CLASSES,
        channels=section.CHANNELS,
        use_gn=section.USE_GN,
        predictor_kernel_size=section.PREDICTOR_KERNEL_SIZE,
        prior_prob=section.PRIOR_PROB,
        predictor_init_std=section.PREDICTOR_INIT_STD,
        **head,
    )
