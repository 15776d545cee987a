"""RetinaNet (Lin et al., ICCV 2017).

Shape letters: N images, A anchors per location, R anchors of a level, T anchors of all levels, K
classes.
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
from fvcore.nn import sigmoid_focal_loss_jit
from torch import Tensor, nn
from torch.nn import functional as F

from dyhead.box_geometry import match_boxes

from ...config import CfgNode, configurable
from ...layers import ShapeSpec, batched_nms, get_norm
from ...structures import Boxes, ImageList, Instances
from ...utils.events import get_event_storage
from ..anchor_generator import build_anchor_generator
from ..backbone import Backbone, build_backbone
from ..box_regression import Box2BoxTransform, _dense_box_regression_loss, check_box_reg_loss_type
from ..input_shapes import common_channels, named_shapes
from ..matcher import Matcher
from .build import META_ARCH_REGISTRY
from .dense_detector import DenseDetector, permute_to_N_HWA_K  # noqa: F401  (as in Detectron2)


@META_ARCH_REGISTRY.register()
class RetinaNet(DenseDetector):
    """A dense detector trained with the focal loss on anchors matched by IoU."""

    @configurable
    def __init__(
        self,
        *,
        backbone: Backbone,
        head: nn.Module,
        head_in_features: Sequence[str],
        anchor_generator: nn.Module,
        box2box_transform: Box2BoxTransform,
        anchor_matcher: Matcher,
        num_classes: int,
        focal_loss_alpha: float = 0.25,
        focal_loss_gamma: float = 2.0,
        smooth_l1_beta: float = 0.0,
        box_reg_loss_type: str = "smooth_l1",
        test_score_thresh: float = 0.05,
        test_topk_candidates: int = 1000,
        test_nms_thresh: float = 0.5,
        max_detections_per_image: int = 100,
        pixel_mean: Sequence[float],
        pixel_std: Sequence[float],
        vis_period: int = 0,
        input_format: str = "BGR",
    ) -> None:
        """Put the detector together.

        Args:
            backbone: see `DenseDetector`.
            head: list of feature maps to lists of class logits (N, A * K, H, W) and of deltas
                (N, A * 4, H, W).
            head_in_features: names of the backbone's features that the head reads.
            anchor_generator: feature maps to a list of Boxes, one per level.
            box2box_transform: between anchors and boxes.
            anchor_matcher: (M, T) IoUs of objects and anchors to matches and labels.
            num_classes: K, without the background.
            focal_loss_alpha: weight of the positive class.
            focal_loss_gamma: exponent that takes weight from easy examples.
            smooth_l1_beta: where the smooth L1 loss turns from quadratic to linear.
            box_reg_loss_type: "smooth_l1", "giou", "diou" or "ciou".
            test_score_thresh: lowest score of a detection.
            test_topk_candidates: number of (anchor, class) pairs of a level that go into NMS.
            test_nms_thresh: IoU above which NMS drops the lower score.
            max_detections_per_image: number of detections returned.
            pixel_mean: per channel, in the order of `input_format`.
            pixel_std: per channel, in the order of `input_format`.
            vis_period: 0; this host draws no training inputs.
            input_format: channel order of the images, e.g. "BGR".

        Raises:
            ValueError: there is no such box loss.
        """
        check_box_reg_loss_type(box_reg_loss_type, "MODEL.RETINANET")
        super().__init__(
            backbone, head, head_in_features, pixel_mean=pixel_mean, pixel_std=pixel_std
        )
        self.num_classes = num_classes
        self.anchor_generator = anchor_generator
        self.box2box_transform = box2box_transform
        self.anchor_matcher = anchor_matcher
        self.focal_loss_alpha = focal_loss_alpha
        self.focal_loss_gamma = focal_loss_gamma
        self.smooth_l1_beta = smooth_l1_beta
        self.box_reg_loss_type = box_reg_loss_type
        self.test_score_thresh = test_score_thresh
        self.test_topk_candidates = test_topk_candidates
        self.test_nms_thresh = test_nms_thresh
        self.max_detections_per_image = max_detections_per_image
        self.vis_period = vis_period
        self.input_format = input_format

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        """Read constructor arguments from MODEL.RETINANET and the keys of backbone and anchors.

        Raises:
            ValueError: the backbone lacks a feature that MODEL.RETINANET.IN_FEATURES names.
        """
        retinanet = cfg.MODEL.RETINANET
        backbone = build_backbone(cfg)
        shapes = backbone.output_shape()
        levels = named_shapes(shapes, retinanet.IN_FEATURES, "MODEL.RETINANET.IN_FEATURES")
        return {
            "backbone": backbone,
            "head": RetinaNetHead(cfg, levels),
            "head_in_features": retinanet.IN_FEATURES,
            "anchor_generator": build_anchor_generator(cfg, levels),
            "box2box_transform": Box2BoxTransform(weights=retinanet.BBOX_REG_WEIGHTS),
            "anchor_matcher": Matcher(
                retinanet.IOU_THRESHOLDS, retinanet.IOU_LABELS, allow_low_quality_matches=True
            ),
            "num_classes": retinanet.NUM_CLASSES,
            "focal_loss_alpha": retinanet.FOCAL_LOSS_ALPHA,
            "focal_loss_gamma": retinanet.FOCAL_LOSS_GAMMA,
            "smooth_l1_beta": retinanet.SMOOTH_L1_LOSS_BETA,
            "box_reg_loss_type": retinanet.BBOX_REG_LOSS_TYPE,
            "test_score_thresh": retinanet.SCORE_THRESH_TEST,
            "test_topk_candidates": retinanet.TOPK_CANDIDATES_TEST,
            "test_nms_thresh": retinanet.NMS_THRESH_TEST,
            "max_detections_per_image": cfg.TEST.DETECTIONS_PER_IMAGE,
            "pixel_mean": cfg.MODEL.PIXEL_MEAN,
            "pixel_std": cfg.MODEL.PIXEL_STD,
            "vis_period": cfg.VIS_PERIOD,
            "input_format": cfg.INPUT.FORMAT,
        }

    def forward_training(
        self,
        images: ImageList,
        features: list[Tensor],
        predictions: tuple[list[Tensor], list[Tensor]],
        gt_instances: list[Instances],
    ) -> dict[str, Tensor]:
        """Compute the losses of a batch; see `losses`."""
        logits, deltas = self._transpose_dense_predictions(predictions, [self.num_classes, 4])
        anchors = self.anchor_generator(features)
        gt_labels, gt_boxes = self.label_anchors(anchors, gt_instances)
        return self.losses(anchors, logits, gt_labels, deltas, gt_boxes)

    def losses(
        self,
        anchors: list[Boxes],
        pred_logits: list[Tensor],
        gt_labels: list[Tensor],
        pred_anchor_deltas: list[Tensor],
        gt_boxes: list[Tensor],
    ) -> dict[str, Tensor]:
        """Compute the focal loss over all anchors but the ignored, the box loss over the positive.

        Both are divided by a moving average of the number of positive anchors of the batch.

        Args:
            anchors: per level R boxes.
            pred_logits: per level (N, R, K).
            gt_labels: per image (T,), as `label_anchors` gives them.
            pred_anchor_deltas: per level (N, R, 4).
            gt_boxes: per image (T, 4).

        Returns:
            "loss_cls" and "loss_box_reg".
        """
        labels = torch.stack(gt_labels)  # (N, T)
        used, positive = labels >= 0, (labels >= 0) & (labels != self.num_classes)
        num_positive = int(positive.sum())
        get_event_storage().put_scalar("num_pos_anchors", num_positive / len(labels))
        normalizer = self._ema_update("loss_normalizer", max(num_positive, 1), 100)
        logits = torch.cat(pred_logits, dim=1)[used]
        targets = F.one_hot(labels[used], self.num_classes + 1)[:, : self.num_classes]
        loss_cls = sigmoid_focal_loss_jit(
            logits,
            targets.to(logits.dtype),
            alpha=self.focal_loss_alpha,
            gamma=self.focal_loss_gamma,
            reduction="sum",
        )
        loss_box_reg = _dense_box_regression_loss(
            anchors,
            self.box2box_transform,
            pred_anchor_deltas,
            gt_boxes,
            positive,
            box_reg_loss_type=self.box_reg_loss_type,
            smooth_l1_beta=self.smooth_l1_beta,
        )
        return {"loss_cls": loss_cls / normalizer, "loss_box_reg": loss_box_reg / normalizer}

    @torch.no_grad()
    def label_anchors(
        self, anchors: list[Boxes], gt_instances: list[Instances]
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Choose what every anchor has to predict.

        Args:
            anchors: per level R boxes.
            gt_instances: per image, with `gt_boxes` and `gt_classes`, possibly empty.

        Returns:
            Per image (T,) labels: a class, K for the background, -1 for ignored anchors; and per
            image (T, 4) the matched boxes, of meaning for positive anchors only.
        """
        all_anchors = Boxes.cat(anchors)
        labelled = [self._label_anchors_of_image(all_anchors, truth) for truth in gt_instances]
        labels, boxes = zip(*labelled, strict=True)
        return list(labels), list(boxes)

    def _label_anchors_of_image(self, anchors: Boxes, truth: Instances) -> tuple[Tensor, Tensor]:
        matches, kinds = match_boxes(
            self.anchor_matcher, truth.gt_boxes.tensor, anchors.tensor, Matcher
        )
        if len(truth) == 0:
            return torch.full_like(matches, self.num_classes), torch.zeros_like(anchors.tensor)
        labels = truth.gt_classes[matches]
        labels[kinds == 0] = self.num_classes
        labels[kinds == -1] = -1
        return labels, truth.gt_boxes.tensor[matches]

    def forward_inference(
        self,
        images: ImageList,
        features: list[Tensor],
        predictions: tuple[list[Tensor], list[Tensor]],
    ) -> list[Instances]:
        """Detect in every image of a batch, in its input size."""
        logits, deltas = self._transpose_dense_predictions(predictions, [self.num_classes, 4])
        anchors = self.anchor_generator(features)
        return [
            self.inference_single_image(
                anchors,
                [level[i].sigmoid() for level in logits],
                [level[i] for level in deltas],
                image_size,
            )
            for i, image_size in enumerate(images.image_sizes)
        ]

    def inference_single_image(
        self,
        anchors: list[Boxes],
        box_cls: list[Tensor],
        box_delta: list[Tensor],
        image_size: tuple[int, int],
    ) -> Instances:
        """Detect in one image, best first.

        Args:
            anchors: per level R boxes.
            box_cls: per level (R, K), probabilities.
            box_delta: per level (R, 4).
            image_size: height and width of the image.
        """
        candidates = self._decode_multi_level_predictions(
            anchors,
            box_cls,
            box_delta,
            self.test_score_thresh,
            self.test_topk_candidates,
            image_size,
        )
        keep = batched_nms(
            candidates.pred_boxes.tensor,
            candidates.scores,
            candidates.pred_classes,
            self.test_nms_thresh,
        )
        return candidates[keep[: self.max_detections_per_image]]


class RetinaNetHead(nn.Module):
    """Two towers of convolutions, for classes and for boxes, shared by all levels."""

    @configurable
    def __init__(
        self,
        *,
        input_shape: list[ShapeSpec],
        num_classes: int,
        num_anchors: int,
        conv_dims: list[int],
        norm: str = "",
        prior_prob: float = 0.01,
    ) -> None:
        """Build the head.

        Args:
            input_shape: of every level.
            num_classes: K.
            num_anchors: A.
            conv_dims: channels of each convolution of a tower.
            norm: of the towers, as `get_norm` takes it.
            prior_prob: score of every anchor at initialization.

        Raises:
            ValueError: there is no convolution; the levels' channels differ; or a batch norm is
                wanted, which Detectron2 keeps one of per level.
        """
        super().__init__()
        if norm in ("BN", "SyncBN"):
            raise ValueError(
                f"MODEL.RETINANET.NORM is {norm!r}, which needs a norm per level: set it to '' or"
                " 'GN', or run with genuine Detectron2."
            )
        if not conv_dims:
            raise ValueError(
                "RetinaNet's head needs a convolution per tower: set MODEL.RETINANET.NUM_CONVS to 1"
                " or more."
            )
        channels = common_channels(input_shape, "MODEL.RETINANET.IN_FEATURES")
        self.cls_subnet = _tower(channels, conv_dims, norm)
        self.bbox_subnet = _tower(channels, conv_dims, norm)
        self.cls_score = nn.Conv2d(conv_dims[-1], num_anchors * num_classes, 3, padding=1)
        self.bbox_pred = nn.Conv2d(conv_dims[-1], num_anchors * 4, 3, padding=1)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.normal_(module.weight, std=0.01)
                nn.init.zeros_(module.get_parameter("bias"))
        prior_logit = -math.log((1 - prior_prob) / prior_prob)
        nn.init.constant_(self.cls_score.get_parameter("bias"), prior_logit)

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: list[ShapeSpec]) -> dict[str, Any]:
        """Read constructor arguments from a config and the shapes of the levels.

        Raises:
            ValueError: the levels have different numbers of anchors per location.
        """
        anchor_generator: Any = build_anchor_generator(cfg, input_shape)
        num_anchors = set(anchor_generator.num_cell_anchors)
        if len(num_anchors) != 1:
            raise ValueError(
                f"MODEL.ANCHOR_GENERATOR gives {sorted(num_anchors)} anchors per location:"
                " RetinaNet needs as many SIZES x ASPECT_RATIOS on every level."
            )
        return {
            "input_shape": input_shape,
            "num_classes": cfg.MODEL.RETINANET.NUM_CLASSES,
            "num_anchors": num_anchors.pop(),
            "conv_dims": [input_shape[0].channels] * cfg.MODEL.RETINANET.NUM_CONVS,
            "norm": cfg.MODEL.RETINANET.NORM,
            "prior_prob": cfg.MODEL.RETINANET.PRIOR_PROB,
        }

    def forward(self, features: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """Predict class logits (N, A * K, H, W) and deltas (N, A * 4, H, W) on every level."""
        logits = [self.cls_score(self.cls_subnet(level)) for level in features]
        deltas = [self.bbox_pred(self.bbox_subnet(level)) for level in features]
        return logits, deltas


def _tower(in_channels: int, conv_dims: list[int], norm: str) -> nn.Sequential:
    layers: list[nn.Module] = []
    for channels in conv_dims:
        layers.append(nn.Conv2d(in_channels, channels, 3, padding=1))
        if norm:
            layers.append(_norm(norm, channels))
        layers.append(nn.ReLU())
        in_channels = channels
    return nn.Sequential(*layers)


def _norm(norm: str, channels: int) -> nn.Module:
    layer = get_norm(norm, channels)
    assert layer is not None, "only an empty name gives no norm"
    return layer
