"""The trunk that dense detectors share: images in, losses or detections out.

Shape letters: N images, H x W locations of a level, A anchors per location, R = H * W * A anchors
of a level, K classes.
"""

import logging
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from dyhead.d2.config import CfgNode
from dyhead.d2.layers import ShapeSpec
from dyhead.d2.modeling.backbone import Backbone
from dyhead.d2.modeling.postprocessing import detector_postprocess
from dyhead.d2.structures import ImageList, Instances
from dyhead.errors import UserError
from dyhead.modeling.meta_arch.dense_inference import Candidates, detect, select_candidates
from dyhead.ops.recording import is_exported

logger = logging.getLogger(__name__)


class DensePredictions(NamedTuple):
    """What a head predicts for every anchor: one tensor per pyramid level, finest first."""

    class_logits: list[Tensor]  # (N, R, K)
    box_deltas: list[Tensor]  # (N, R, 4)
    quality_logits: list[Tensor] | None  # (N, R); None for detectors that score by class alone


def flatten_map(prediction: Tensor, values_per_anchor: int) -> Tensor:
    """Bring a predicted map (N, A * K, H, W) into the order of the anchors, (N, H * W * A, K)."""
    per_anchor = prediction.unflatten(1, (-1, values_per_anchor))  # (N, A, K, H, W)
    ordered = per_anchor.permute(0, 3, 4, 1, 2)
    if is_exported():
        ordered = ordered.clone(memory_format=torch.contiguous_format)
    return ordered.flatten(1, 3)


class DenseDetector(nn.Module, ABC):
    """A detector that scores and refines every anchor of a feature pyramid.

    A subclass defines `losses`, and `predict` where its head gives other things than the three of a
    `DenseHead`; everything else is common. Detectors without anchors take locations as anchors: see
    `locations.py`.

    Args:
        backbone: images (N, C, H, W) to a dict of feature maps.
        head: list of feature maps, finest first, to three lists of maps: class logits
            (N, A * K, H, W), box deltas (N, A * 4, H, W), quality logits (N, A, H, W).
        head_in_features: names of the backbone's features that the head reads, finest first.
        anchor_generator: feature maps to a list of Boxes, one per level, location-major.
        box2box_transform: `apply_deltas(deltas, anchors)` gives XYXY boxes in pixels.
        num_classes: K, without a background class.
        test_score_thresh: lowest class score of a detection.
        test_topk_candidates: number of (anchor, class) pairs of a level that go into NMS.
        test_nms_thresh: IoU above which the lower-scored of two boxes of a class is dropped.
        max_detections_per_image: number of detections returned; negative for all.
        rank_by_quality: the pairs that go into NMS are those of the best class score times
            quality; else those of the best class score.
        clip_before_nms: boxes are cut off at the image's border before NMS rather than after it.
        pixel_mean: per channel, in the order of `input_format`.
        pixel_std: per channel, in the order of `input_format`.
        input_format: channel order of the images, e.g. "BGR".

    Raises:
        UserError: a name in `head_in_features` is not a feature of the backbone.
    """

    pixel_mean: Tensor
    pixel_std: Tensor

    def __init__(
        self,
        *,
        backbone: Backbone,
        head: nn.Module,
        head_in_features: Sequence[str],
        anchor_generator: nn.Module,
        box2box_transform: Any,
        num_classes: int,
        test_score_thresh: float = 0.05,
        test_topk_candidates: int = 1000,
        test_nms_thresh: float = 0.6,
        max_detections_per_image: int = 100,
        rank_by_quality: bool = True,
        clip_before_nms: bool = False,
        pixel_mean: Sequence[float],
        pixel_std: Sequence[float],
        input_format: str = "BGR",
    ) -> None:
        super().__init__()
        check_features(head_in_features, backbone.output_shape())
        warn_of_unused_features(head_in_features, backbone.output_shape())
        self.backbone = backbone
        self.head = head
        self.head_in_features = list(head_in_features)
        self.anchor_generator = anchor_generator
        self.box2box_transform = box2box_transform
        self.num_classes = num_classes
        self.test_score_thresh = test_score_thresh
        self.test_topk_candidates = test_topk_candidates
        self.test_nms_thresh = test_nms_thresh
        self.max_detections_per_image = max_detections_per_image
        self.rank_by_quality = rank_by_quality
        self.clip_before_nms = clip_before_nms
        self.input_format = input_format
        self.register_buffer("pixel_mean", per_channel(pixel_mean), persistent=False)
        self.register_buffer("pixel_std", per_channel(pixel_std), persistent=False)

    @property
    def device(self) -> torch.device:
        """Where the images are moved to, and where the model computes."""
        return self.pixel_mean.device

    def forward(
        self, batched_inputs: list[dict[str, Any]]
    ) -> dict[str, Tensor] | list[dict[str, Instances]]:
        """Losses in training, detections otherwise.

        Args:
            batched_inputs: one dict per image: `image` (C, H, W) in the model's input format;
                `instances` with `gt_boxes` and `gt_classes` in training; `height` and `width`, in
                inference, the size in which to give the boxes (by default the image's own).

        Returns:
            In training a dict of scalar losses, else `[{"instances": Instances}]` with
            `pred_boxes`, `scores` and `pred_classes`, best first, boxes inside the image.

        Raises:
            ValueError: an image has no `instances` in training.
        """
        images = self.preprocess_image(batched_inputs)
        pyramid = self.backbone(images.tensor)
        features = [pyramid[name] for name in self.head_in_features]
        anchors = [boxes.tensor for boxes in self.anchor_generator(features)]
        predictions = self.predict(features)
        if self.training:
            return self.losses(anchors, predictions, self._ground_truth(batched_inputs))
        detections = self.inference(anchors, predictions, images.image_sizes)
        return postprocess(detections, batched_inputs)

    def predict(self, features: list[Tensor]) -> DensePredictions:
        """What the head predicts from features (N, C, H, W), in the order of the anchors."""
        logits, deltas, quality = self.head(features)
        return DensePredictions(
            [flatten_map(level, self.num_classes) for level in logits],
            [flatten_map(level, 4) for level in deltas],
            [flatten_map(level, 1).squeeze(-1) for level in quality],
        )

    @abstractmethod
    def losses(
        self,
        anchors: list[Tensor],
        predictions: DensePredictions,
        gt_instances: list[Instances],
    ) -> dict[str, Tensor]:
        """Named scalar losses of a batch.

        Args:
            anchors: per level (R, 4), XYXY in pixels of the padded batch.
            predictions: of the batch.
            gt_instances: per image, with `gt_boxes` and `gt_classes`, possibly empty.
        """

    def inference(
        self,
        anchors: list[Tensor],
        predictions: DensePredictions,
        image_sizes: list[tuple[int, int]],
    ) -> list[Instances]:
        """Detections of every image in its input size; boxes may reach outside it."""
        results = []
        for i, image_size in enumerate(image_sizes):
            results.append(self._detect(anchors, image_predictions(predictions, i), image_size))
        return results

    def preprocess_image(self, batched_inputs: list[dict[str, Any]]) -> ImageList:
        """Normalise the images and pad them at the right and bottom (with zeros) to one size."""
        normalised = [
            (x["image"].to(self.device) - self.pixel_mean) / self.pixel_std for x in batched_inputs
        ]
        return ImageList.from_tensors(
            normalised,
            self.backbone.size_divisibility,
            padding_constraints=self.backbone.padding_constraints,
        )

    def _ground_truth(self, batched_inputs: list[dict[str, Any]]) -> list[Instances]:
        for x in batched_inputs:
            if "instances" not in x:
                raise ValueError(
                    f"No ground truth for {x.get('file_name', 'an image')} in training: every"
                    " input needs 'instances', with no boxes where there is no object."
                )
        return [x["instances"].to(self.device) for x in batched_inputs]

    def _detect(
        self,
        anchors: list[Tensor],
        predictions: DensePredictions,
        image_size: tuple[int, int],
    ) -> Instances:
        """Detections of one image; its predictions have no dimension N."""
        logits, deltas = predictions.class_logits, predictions.box_deltas
        quality: Sequence[Tensor | None] = predictions.quality_logits or [None] * len(anchors)
        levels = zip(anchors, logits, deltas, quality, strict=True)
        return detect(
            [self._decode_level(*level) for level in levels],
            image_size=image_size,
            clip_before_nms=self.clip_before_nms,
            iou_threshold=self.test_nms_thresh,
            max_detections=self.max_detections_per_image,
        )

    def _decode_level(
        self,
        anchors: Tensor,
        class_logits: Tensor,
        box_deltas: Tensor,
        quality_logits: Tensor | None,
    ) -> Candidates:
        # In float32 under mixed precision too: NMS wants boxes and scores of one type.
        scores, chosen, classes = select_candidates(
            class_logits.float().sigmoid(),
            None if quality_logits is None else quality_logits.float().sigmoid(),
            self.test_score_thresh,
            self.test_topk_candidates,
            self.rank_by_quality,
        )
        boxes = self.box2box_transform.apply_deltas(box_deltas[chosen], anchors[chosen])
        return Candidates(boxes, scores, classes)


def join_levels(predictions: DensePredictions) -> tuple[Tensor, Tensor, Tensor]:
    """Class logits (N, T, K), deltas (N, T, 4) and quality logits (N, T) of all T anchors."""
    assert predictions.quality_logits is not None, "this detector has no quality to join"
    logits, deltas, quality = (torch.cat(levels, dim=1) for levels in predictions[:3] if levels)
    return logits, deltas, quality


def image_predictions(predictions: DensePredictions, index: int) -> DensePredictions:
    """The predictions for one image of the batch, without the dimension N."""
    logits, deltas, quality = predictions[:3]
    return DensePredictions(
        [level[index] for level in logits],
        [level[index] for level in deltas],
        None if quality is None else [level[index] for level in quality],
    )


def trunk_arguments(cfg: CfgNode, section: CfgNode, backbone: Backbone) -> dict[str, Any]:
    """Constructor arguments of a `DenseDetector` that every one reads alike.

    Args:
        cfg: of the whole run.
        section: the detector's own part of it, such as `cfg.MODEL.ATSS`.
        backbone: what the detector stands on.
    """
    return {
        "backbone": backbone,
        "head_in_features": section.IN_FEATURES,
        "num_classes": section.NUM_CLASSES,
        "test_score_thresh": section.INFERENCE_TH,
        "test_topk_candidates": section.PRE_NMS_TOP_N,
        "test_nms_thresh": section.NMS_TH,
        "max_detections_per_image": cfg.TEST.DETECTIONS_PER_IMAGE,
        "pixel_mean": cfg.MODEL.PIXEL_MEAN,
        "pixel_std": cfg.MODEL.PIXEL_STD,
        "input_format": cfg.INPUT.FORMAT,
    }


def head_levels(section: CfgNode, backbone: Backbone) -> list[ShapeSpec]:
    """Shapes of the features that the head reads, by `section.IN_FEATURES`.

    Raises:
        UserError: the backbone lacks one of them.
    """
    shapes = backbone.output_shape()
    check_features(section.IN_FEATURES, shapes)
    return [shapes[name] for name in section.IN_FEATURES]


def check_features(names: Sequence[str], available: Mapping[str, Any]) -> None:
    """Refuse names of features that the backbone does not have.

    Raises:
        UserError: a name is not among the available ones.
    """
    missing = [name for name in names if name not in available]
    if missing:
        raise UserError(
            f"IN_FEATURES names {', '.join(missing)}, but the backbone gives"
            f" {', '.join(available)}: use those names."
        )


def warn_of_unused_features(names: Sequence[str], available: Mapping[str, Any]) -> None:
    """Log the features that are computed for nothing."""
    unused = [name for name in available if name not in names]
    if unused:
        logger.warning("The backbone computes %s, which the head does not use.", ", ".join(unused))


def per_channel(values: Sequence[float]) -> Tensor:
    """Numbers per channel as a (C, 1, 1) tensor, to be broadcast over an image."""
    return torch.tensor(values, dtype=torch.float32).view(-1, 1, 1)


def postprocess(
    detections: list[Instances], batched_inputs: list[dict[str, Any]]
) -> list[dict[str, Instances]]:
    """Bring detections to the size asked for (`height`, `width`), clip, drop empty boxes."""
    results = []
    for instances, x in zip(detections, batched_inputs, strict=True):
        height, width = instances.image_size
        resized = detector_postprocess(instances, x.get("height", height), x.get("width", width))
        results.append({"instances": resized})
    return results
