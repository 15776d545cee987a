"""The second stage of a detector and its registry."""

from typing import Any

import torch
from torch import Tensor, nn

from ...config import CfgNode, check_part, check_switched_off, configurable
from ...layers import ShapeSpec
from ...structures import Boxes, ImageList, Instances
from ...utils.registry import Registry
from ..input_shapes import common_channels, named_shapes
from ..poolers import ROIPooler
from .box_head import build_box_head
from .fast_rcnn import FastRCNNOutputLayers
from .region_sampling import ROIHeads, select_foreground_proposals

__all__ = [
    "ROI_HEADS_REGISTRY",
    "ROIHeads",
    "StandardROIHeads",
    "build_roi_heads",
    "select_foreground_proposals",
]

ROI_HEADS_REGISTRY = Registry("ROI_HEADS")
ROI_HEADS_REGISTRY.__doc__ = (
    """Modules built from `(cfg, input_shape: dict[str, ShapeSpec])`, called as StandardROIHeads."""
)


def build_roi_heads(cfg: CfgNode, input_shape: dict[str, ShapeSpec]) -> nn.Module:
    """Build the second stage registered as `cfg.MODEL.ROI_HEADS.NAME`.

    Args:
        cfg: the whole config.
        input_shape: what the backbone gives.

    Raises:
        ValueError: it is one that takes genuine Detectron2.
    """
    check_part(cfg, "MODEL.ROI_HEADS.NAME", ROI_HEADS_REGISTRY)
    return ROI_HEADS_REGISTRY.get(cfg.MODEL.ROI_HEADS.NAME)(cfg, input_shape)


@ROI_HEADS_REGISTRY.register()
class StandardROIHeads(ROIHeads):
    """Classifies and refines regions; masks and keypoints take genuine Detectron2.

    State-dict keys: `box_head`, `box_predictor`.
    """

    box_pooler: Any
    box_head: Any
    box_predictor: Any
    mask_on = keypoint_on = False

    @configurable
    def __init__(
        self,
        *,
        box_in_features: list[str],
        box_pooler: ROIPooler,
        box_head: nn.Module,
        box_predictor: nn.Module,
        train_on_pred_boxes: bool = False,
        **kwargs: Any,
    ) -> None:
        """Take the parts.

        Args:
            box_in_features: names of the features to pool from, finest first.
            box_pooler: pools regions from them.
            box_head: from the pooled features to what `box_predictor` takes.
            box_predictor: called like `FastRCNNOutputLayers`.
            train_on_pred_boxes: whether the regions that `forward` returns in training have the
                boxes predicted for them.
            kwargs: arguments of `ROIHeads`.
        """
        super().__init__(**kwargs)
        self.in_features = self.box_in_features = box_in_features
        self.box_pooler = box_pooler
        self.box_head = box_head
        self.box_predictor = box_predictor
        self.train_on_pred_boxes = train_on_pred_boxes

    # The arguments differ from the base class's as they do in Detectron2.
    @classmethod
    def from_config(  # type: ignore[override]
        cls, cfg: CfgNode, input_shape: dict[str, ShapeSpec]
    ) -> dict[str, Any]:
        """Arguments of the constructor from a config.

        Raises:
            ValueError: it asks for masks or keypoints, or names features that the backbone lacks.
        """
        check_switched_off(cfg, "MODEL.MASK_ON", "MODEL.KEYPOINT_ON")
        return {
            **super().from_config(cfg),
            **cls._init_box_head(cfg, input_shape),
            "train_on_pred_boxes": cfg.MODEL.ROI_BOX_HEAD.TRAIN_ON_PRED_BOXES,
        }

    @classmethod
    def _init_box_head(cls, cfg: CfgNode, input_shape: dict[str, ShapeSpec]) -> dict[str, Any]:
        """Build the parts of the box branch; for subclasses to replace."""
        names, key = cfg.MODEL.ROI_HEADS.IN_FEATURES, "MODEL.ROI_HEADS.IN_FEATURES"
        levels = named_shapes(input_shape, names, key)
        options = cfg.MODEL.ROI_BOX_HEAD
        side = options.POOLER_RESOLUTION
        pooled = ShapeSpec(channels=common_channels(levels, key), height=side, width=side)
        box_head: Any = build_box_head(cfg, pooled)
        return {
            "box_in_features": names,
            "box_pooler": ROIPooler(
                output_size=side,
                scales=[1.0 / (level.stride or 1) for level in levels],
                sampling_ratio=options.POOLER_SAMPLING_RATIO,
                pooler_type=options.POOLER_TYPE,
            ),
            "box_head": box_head,
            "box_predictor": FastRCNNOutputLayers(cfg, box_head.output_shape),
        }

    def forward(
        self,
        images: ImageList,
        features: dict[str, Tensor],
        proposals: list[Instances],
        targets: list[Instances] | None = None,
    ) -> tuple[list[Instances], dict[str, Tensor]]:
        """Judge regions.

        Args:
            images: the batch; not looked at.
            features: (N, C, H, W) by name.
            proposals: regions of each image with "proposal_boxes" and "objectness_logits".
            targets: objects of each image with "gt_boxes" and "gt_classes", for training.

        Returns:
            In training the regions sampled for it and the losses, at inference the detections with
            "pred_boxes", "scores" and "pred_classes" and no losses.

        Raises:
            ValueError: training without objects.
        """
        if not self.training:
            detections = self._forward_box(features, proposals)
            return self.forward_with_given_boxes(features, detections), {}
        if targets is None:
            raise ValueError("The RoI heads need the images' objects (targets) in training.")
        proposals = self.label_and_sample_proposals(proposals, targets)
        losses = dict(self._forward_box(features, proposals))
        losses |= self._forward_mask(features, proposals)
        losses |= self._forward_keypoint(features, proposals)
        return proposals, losses

    def forward_with_given_boxes(
        self, features: dict[str, Tensor], instances: list[Instances]
    ) -> list[Instances]:
        """Complete detections of given boxes by the branches of subclasses; here there are none."""
        instances = self._forward_mask(features, instances)
        return self._forward_keypoint(features, instances)

    def _forward_box(self, features: dict[str, Tensor], proposals: list[Instances]) -> Any:
        """Losses in training, detections at inference; for subclasses to replace."""
        levels = [features[name] for name in self.box_in_features]
        pooled = self.box_pooler(levels, [regions.proposal_boxes for regions in proposals])
        predictions = self.box_predictor(self.box_head(pooled))
        if not self.training:
            return self.box_predictor.inference(predictions, proposals)[0]
        losses = self.box_predictor.losses(predictions, proposals)
        if self.train_on_pred_boxes:
            self._take_predicted_boxes(predictions, proposals)
        return losses

    def _forward_mask(self, features: dict[str, Tensor], instances: list[Instances]) -> Any:
        """Add nothing; subclasses replace it, or call the branches one by one as in Detectron2."""
        return {} if self.training else instances

    _forward_keypoint = _forward_mask

    @torch.no_grad()
    def _take_predicted_boxes(self, predictions: Any, proposals: list[Instances]) -> None:
        boxes = self.box_predictor.predict_boxes_for_gt_classes(predictions, proposals)
        for regions, predicted in zip(proposals, boxes, strict=True):
            regions.proposal_boxes = Boxes(predicted)
