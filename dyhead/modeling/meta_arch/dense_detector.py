"""The trunk that ATSS, FCOS, RepPoints and RetinaNet share, on Detectron2's `DenseDetector`.

The host's class normalises images, runs backbone and head, and scales detections to the size asked
for. Here the head's maps become predictions per anchor, from which a subclass computes its losses,
and detections.

Shape letters: N images, H x W locations of a level, A anchors per location, R = H * W * A anchors
of a level, T anchors of all levels, K classes.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from dyhead.d2.modeling.backbone import Backbone
from dyhead.d2.modeling.meta_arch.dense_detector import DenseDetector as HostDenseDetector
from dyhead.d2.structures import ImageList, Instances
from dyhead.errors import UserError
from dyhead.modeling.meta_arch.assignment import Rule, assign_inside
from dyhead.modeling.meta_arch.dense_arguments import check_features, warn_of_unused_features
from dyhead.modeling.meta_arch.dense_inference import Candidates, detect, select_candidates
from dyhead.modeling.meta_arch.joined_groups import anchors_inside, join_maps
from dyhead.modeling.size_groups import detect_by_size, group_by_size
from dyhead.ops.recording import is_exported


@dataclass(frozen=True)
class DensePredictions:
    """Predictions for every anchor: of each kind a tensor per level, finest first."""

    class_logits: list[Tensor]  # (N, R, K)
    box_deltas: list[Tensor]  # (N, R, 4)
    quality_logits: list[Tensor] | None = None  # (N, R); None: scores are those of the class alone
    # Per image and level the indices of its own anchors, where others are padding; None: all are.
    # Logits at the others cost nothing as background: they must not be assigned to objects.
    inside: list[list[Tensor]] | None = None

    def assign(
        self, rule: Rule, anchors: list[Tensor], gt_instances: Sequence[Instances]
    ) -> Tensor:
        """Assign every image's own anchors to its objects: (N, T).

        Args:
            rule: makes the assignment of an image.
            anchors: per level (R, 4), XYXY in pixels.
            gt_instances: per image, with `gt_boxes`.
        """
        boxes = [instances.gt_boxes.tensor for instances in gt_instances]
        if self.inside is None:
            return torch.stack([rule(anchors, each) for each in boxes])
        images = zip(boxes, self.inside, strict=True)
        return torch.stack([assign_inside(rule, anchors, each, own) for each, own in images])

    def of_image(self, index: int) -> Iterator[tuple[Tensor, Tensor, Tensor | None]]:
        """Yield the predictions for one image level by level: (R, K), (R, 4) and (R,) or None."""
        for level, logits in enumerate(self.class_logits):
            quality = None if self.quality_logits is None else self.quality_logits[level][index]
            yield logits[index], self.box_deltas[level][index], quality


class DenseDetector(HostDenseDetector, ABC):
    """A detector that scores and refines every anchor of a feature pyramid.

    A subclass defines `losses`, and `arrange` where its head gives other maps than those below.
    Detectors without anchors take locations as anchors: see `locations.py`.

    Args:
        backbone: images (N, C, H, W) to a dict of feature maps.
        head: list of feature maps, finest first, to lists of maps of the same order: class logits
            (N, A * K, H, W), box deltas (N, A * 4, H, W) and, if boxes have a quality, its logits
            (N, A, H, W). It may compute in 16 bits: see `arrange`.
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
        padding_in_statistics: the images of a batch are padded to the largest; else those of one
            padded size are computed apart, and padding has no part in statistics or losses.

    Raises:
        UserError: a name in `head_in_features` is not a feature of the backbone.
    """

    config_section: ClassVar[str] = ""  # of MODEL; "": the name of the class in capitals

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
        padding_in_statistics: bool = True,
    ) -> None:
        check_features(head_in_features, backbone.output_shape())
        warn_of_unused_features(head_in_features, backbone.output_shape())
        super().__init__(
            backbone,
            head,
            list(head_in_features),
            pixel_mean=[float(mean) for mean in pixel_mean],
            pixel_std=[float(std) for std in pixel_std],
        )
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
        self.padding_in_statistics = padding_in_statistics

    @classmethod
    def config_key(cls, name: str) -> str:
        """Return the whole name of one of the detector's config keys."""
        return f"MODEL.{cls.config_section or cls.__name__.upper()}.{name}"

    def forward(self, batched_inputs: list[dict[str, Any]]) -> Any:
        """Compute losses in training, detections otherwise: see the host's `forward`.

        Raises:
            UserError: an image of a batch of several sizes has no `instances` in training.
        """
        if self.padding_in_statistics:
            return super().forward(batched_inputs)
        if not self.training:
            return detect_by_size(self, super().forward, batched_inputs)
        groups = group_by_size(self, batched_inputs)
        if len(groups) < 2:
            return super().forward(batched_inputs)
        return self._train_by_size(batched_inputs, groups)

    def _train_by_size(
        self, batched_inputs: list[dict[str, Any]], groups: list[list[int]]
    ) -> dict[str, Tensor]:
        """Compute the losses of a batch whose groups of images go through the network apart."""
        truth = [_instances(each).to(self.device) for each in batched_inputs]
        of_groups = [self._maps([batched_inputs[i] for i in indices]) for indices in groups]
        maps = join_maps(of_groups, groups)
        anchors, predictions = self.place_anchors(maps[0]), self.arrange(maps)
        per_location = len(anchors[0]) // maps[0][0][0, 0].numel()
        inside = anchors_inside(of_groups, groups, per_location)
        return self.losses(anchors, replace(predictions, inside=inside), truth)

    def _maps(self, batched_inputs: list[dict[str, Any]]) -> Sequence[list[Tensor]]:
        """Compute what the head gives for images of one padded size."""
        pyramid = self.backbone(self.preprocess_image(batched_inputs).tensor)
        maps: Sequence[list[Tensor]] = self.head([pyramid[name] for name in self.head_in_features])
        return maps

    def forward_training(
        self,
        images: ImageList,
        features: list[Tensor],
        predictions: Sequence[list[Tensor]],
        gt_instances: list[Instances],
    ) -> dict[str, Tensor]:
        """Compute the losses of a batch; `predictions` are the head's maps."""
        return self.losses(self.place_anchors(features), self.arrange(predictions), gt_instances)

    def forward_inference(
        self, images: ImageList, features: list[Tensor], predictions: Sequence[list[Tensor]]
    ) -> list[Instances]:
        """Detect in every image, in its input size; boxes may reach outside it.

        Args:
            images: of the batch; only their sizes are looked at.
            features: per level (N, C, H, W).
            predictions: the head's maps.
        """
        anchors, arranged = self.place_anchors(features), self.arrange(predictions)
        results = []
        for index, image_size in enumerate(images.image_sizes):
            levels = zip(anchors, arranged.of_image(index), strict=True)
            detections = detect(
                [self.decode_level(boxes, *predicted) for boxes, predicted in levels],
                image_size=image_size,
                clip_before_nms=self.clip_before_nms,
                iou_threshold=self.test_nms_thresh,
                max_detections=self.max_detections_per_image,
            )
            results.append(detections)
        return results

    def place_anchors(self, features: list[Tensor]) -> list[Tensor]:
        """Return the anchors (R, 4) of every level, XYXY in pixels of the padded batch."""
        return [boxes.tensor for boxes in self.anchor_generator(features)]

    def arrange(self, maps: Sequence[list[Tensor]]) -> DensePredictions:
        """Bring the head's maps into the order of the anchors, in float32 or longer.

        Whatever a head computes in under mixed precision, losses and decoding get float32.

        Args:
            maps: what the head gives: class logits, box deltas, and perhaps quality logits.
        """
        logits, deltas, *quality = maps
        return DensePredictions(
            flatten_maps(logits, self.num_classes),
            flatten_maps(deltas, 4),
            [level.squeeze(-1) for level in flatten_maps(quality[0], 1)] if quality else None,
        )

    @abstractmethod
    def losses(
        self,
        anchors: list[Tensor],
        predictions: DensePredictions,
        gt_instances: list[Instances],
    ) -> dict[str, Tensor]:
        """Compute the named scalar losses of a batch.

        Args:
            anchors: per level (R, 4), XYXY in pixels of the padded batch.
            predictions: of the batch, as `arrange` gives them.
            gt_instances: per image, with `gt_boxes` and `gt_classes`, possibly empty.
        """

    def decode_level(
        self,
        anchors: Tensor,
        class_logits: Tensor,
        box_deltas: Tensor,
        quality_logits: Tensor | None,
    ) -> Candidates:
        """Decode the pairs of anchor and class of one level and image that may be detections.

        Args:
            anchors: (R, 4), XYXY in pixels.
            class_logits: (R, K).
            box_deltas: (R, 4).
            quality_logits: (R,), or None.
        """
        scores, chosen, classes = select_candidates(
            class_logits.float().sigmoid(),
            None if quality_logits is None else quality_logits.float().sigmoid(),
            self.test_score_thresh,
            self.test_topk_candidates,
            self.rank_by_quality,
        )
        boxes = self.box2box_transform.apply_deltas(box_deltas[chosen], anchors[chosen])
        return Candidates(boxes, scores, classes, chosen)


def _instances(batched_input: dict[str, Any]) -> Instances:
    if "instances" not in batched_input:
        name = batched_input.get("file_name", "an image")
        raise UserError(f"No ground truth for {name} in training: give 'instances'.")
    instances: Instances = batched_input["instances"]
    return instances


def flatten_maps(levels: list[Tensor], values_per_anchor: int) -> list[Tensor]:
    """Bring maps (N, A * K, H, W) into the order of the anchors, (N, H * W * A, K)."""
    return [_flatten_map(level, values_per_anchor) for level in levels]


def _flatten_map(prediction: Tensor, values_per_anchor: int) -> Tensor:
    prediction = prediction.to(torch.promote_types(prediction.dtype, torch.float32))
    per_anchor = prediction.unflatten(1, (-1, values_per_anchor))  # (N, A, K, H, W)
    ordered = per_anchor.permute(0, 3, 4, 1, 2)
    if is_exported():  # whose symbolic strides would decide between a view and a copy
        ordered = ordered.clone(memory_format=torch.contiguous_format)
    return ordered.flatten(1, 3)
