"""RetinaNet with predictors that may sit on the pyramid itself.

Detectron2's RetinaNet always has towers, and so has the official RetinaNet with DyHead; in the
paper DyHead takes their place (Dai et al., CVPR 2021, section 3.4).
"""

from typing import Any

import torch
from torch import Tensor, nn

from dyhead.d2.config import CfgNode, configurable
from dyhead.d2.modeling.matcher import Matcher
from dyhead.d2.modeling.meta_arch import META_ARCH_REGISTRY, RetinaNet
from dyhead.d2.structures import Boxes, Instances
from dyhead.errors import UserError
from dyhead.modeling.meta_arch.atss import anchors_per_location
from dyhead.modeling.meta_arch.dense_detector import head_levels, warn_of_unused_features
from dyhead.modeling.meta_arch.dense_head import check_kernel_size
from dyhead.modeling.meta_arch.dense_inference import Candidates, detect, select_candidates
from dyhead.modeling.meta_arch.overlaps import match_in_blocks
from dyhead.modeling.meta_arch.towers import (
    build_tower,
    initialise_convolutions,
    initialise_prior,
    shared_channels,
    tower_depth,
)


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
        predictor_init_std: standard deviation of the predictors' initial weights; see `DenseHead`.

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
        check_kernel_size(predictor_kernel_size)
        padding = predictor_kernel_size // 2
        self.cls_subnet = build_tower(in_channels, in_channels, num_convs, use_gn)
        self.bbox_subnet = build_tower(in_channels, in_channels, num_convs, use_gn)
        self.cls_score = nn.Conv2d(
            in_channels, num_anchors * num_classes, predictor_kernel_size, padding=padding
        )
        self.bbox_pred = nn.Conv2d(
            in_channels, num_anchors * 4, predictor_kernel_size, padding=padding
        )
        for tower in (self.cls_subnet, self.bbox_subnet):
            initialise_convolutions(tower, std=0.01)
        for predictor in (self.cls_score, self.bbox_pred):
            initialise_convolutions(predictor, std=predictor_init_std)
        initialise_prior(self.cls_score, prior_prob)

    def forward(self, features: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """Class logits (N, A * K, H, W) and deltas (N, A * 4, H, W) of each level (N, C, H, W)."""
        logits = [self.cls_score(self.cls_subnet(level)) for level in features]
        deltas = [self.bbox_pred(self.bbox_subnet(level)) for level in features]
        return logits, deltas


@META_ARCH_REGISTRY.register()
class DyHeadRetinaNet(RetinaNet):
    """Detectron2's RetinaNet, except for its head: `PredictorHead`.

    MODEL.RETINANET.NUM_CONVS 0 leaves the towers out where DyHead has blocks, and means 4 on a
    DyHead backbone that has none, as for ATSS.
    """

    @configurable
    def __init__(self, **retinanet: Any) -> None:
        super().__init__(**retinanet)

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        """Constructor arguments from MODEL.RETINANET, MODEL.DYHEAD_RETINANET and the backbone.

        Raises:
            UserError: the backbone lacks a feature of MODEL.RETINANET.IN_FEATURES, or the towers
                cannot have the norm.
        """
        retinanet = cfg.MODEL.RETINANET
        use_gn = wants_group_norm(retinanet.NORM)
        try:
            arguments = super().from_config(with_smallest_head(cfg))
        except KeyError as error:  # genuine Detectron2's answer to a feature that is not there
            if error.args[0] not in retinanet.IN_FEATURES:
                raise
            raise UserError(
                f"MODEL.RETINANET.IN_FEATURES names {error.args[0]}, which the backbone does not"
                " give: take it out, or choose another backbone."
            ) from error
        backbone = arguments["backbone"]
        warn_of_unused_features(retinanet.IN_FEATURES, backbone.output_shape())
        arguments["head"] = PredictorHead(
            in_channels=shared_channels(head_levels(retinanet, backbone)),
            num_classes=retinanet.NUM_CLASSES,
            num_anchors=anchors_per_location(arguments["anchor_generator"]),
            num_convs=tower_depth(retinanet.NUM_CONVS, backbone),
            use_gn=use_gn,
            predictor_kernel_size=cfg.MODEL.DYHEAD_RETINANET.PREDICTOR_KERNEL_SIZE,
            prior_prob=retinanet.PRIOR_PROB,
            predictor_init_std=cfg.MODEL.DYHEAD_RETINANET.PREDICTOR_INIT_STD,
        )
        return arguments

    @torch.no_grad()
    def label_anchors(
        self, anchors: list[Boxes], gt_instances: list[Instances]
    ) -> tuple[list[Tensor], list[Tensor]]:
        """As Detectron2's, without an anchors x objects matrix; see `match_in_blocks`.

        Args:
            anchors: per level R boxes.
            gt_instances: per image, with `gt_boxes` and `gt_classes`, possibly empty.

        Returns:
            Per image (T,) labels: a class, K for the background, -1 for ignored anchors; and per
            image (T, 4) the matched boxes, of meaning for positive anchors only.
        """
        if type(self.anchor_matcher) is not Matcher:  # only the matcher knows its own rules
            return super().label_anchors(anchors, gt_instances)
        all_anchors = torch.cat([level.tensor for level in anchors])
        labelled = [self._label_image(all_anchors, truth) for truth in gt_instances]
        return [labels for labels, _ in labelled], [boxes for _, boxes in labelled]

    def _label_image(self, anchors: Tensor, truth: Instances) -> tuple[Tensor, Tensor]:
        boxes = truth.gt_boxes.tensor
        matches, kinds = match_in_blocks(self.anchor_matcher, anchors, boxes)
        if len(truth) == 0:
            return torch.full_like(matches, self.num_classes), torch.zeros_like(anchors)
        labels = torch.where(kinds == 0, self.num_classes, truth.gt_classes[matches])
        return torch.where(kinds == -1, -1, labels), boxes[matches]

    def inference_single_image(
        self,
        anchors: list[Boxes],
        box_cls: list[Tensor],
        box_delta: list[Tensor],
        image_size: tuple[int, int],
    ) -> Instances:
        """Detections of one image as Detectron2's, by the way of the other dense detectors.

        Args:
            anchors: per level R boxes.
            box_cls: per level (R, K), probabilities.
            box_delta: per level (R, 4).
            image_size: height and width of the image.
        """
        levels = zip(anchors, box_cls, box_delta, strict=True)
        return detect(
            [self._decode_level(*level) for level in levels],
            image_size=image_size,
            iou_threshold=self.test_nms_thresh,
            max_detections=self.max_detections_per_image,
        )

    def _decode_level(self, anchors: Boxes, class_scores: Tensor, deltas: Tensor) -> Candidates:
        scores, chosen, classes = select_candidates(
            class_scores.float(), None, self.test_score_thresh, self.test_topk_candidates
        )
        boxes = self.box2box_transform.apply_deltas(deltas[chosen], anchors.tensor[chosen])
        return Candidates(boxes, scores, classes)


def with_smallest_head(cfg: CfgNode) -> CfgNode:
    """A copy of `cfg` for the host's own head, which is thrown away, but needs a convolution."""
    cfg = cfg.clone()
    cfg.defrost()
    cfg.MODEL.RETINANET.NUM_CONVS = 1
    cfg.MODEL.RETINANET.NORM = ""
    return cfg


def wants_group_norm(norm: str) -> bool:
    """Whether MODEL.RETINANET.NORM asks for GroupNorm in the towers.

    Raises:
        UserError: it asks for another norm.
    """
    if norm not in ("", "GN"):
        raise UserError(
            f"MODEL.RETINANET.NORM is {norm!r}: set it to '' or 'GN' for DyHeadRetinaNet, or use"
            " MODEL.META_ARCHITECTURE RetinaNet."
        )
    return norm == "GN"
