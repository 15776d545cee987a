"""The base of RetinaNet and other dense detectors: images in, predictions for every anchor out.

Shape letters: N images, A anchors per location, R = H * W * A anchors of a level, K classes.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ...structures import Boxes, ImageList, Instances
from ..anchor_order import permute_to_N_HWA_K
from ..backbone import Backbone
from ..box_regression import Box2BoxTransform
from .image_detector import ImageDetector, scale_to_outputs


class DenseDetector(ImageDetector, ABC):
    """A fully convolutional detector on the levels of a feature pyramid."""

    box2box_transform: Box2BoxTransform  # a subclass sets it

    def __init__(
        self,
        backbone: Backbone,
        head: nn.Module,
        head_in_features: Sequence[str] | None = None,
        *,
        pixel_mean: Sequence[float],
        pixel_std: Sequence[float],
    ) -> None:
        """Put a head on a backbone.

        Args:
            backbone: images (N, C, H, W) to a dict of feature maps.
            head: list of feature maps to lists of predicted maps.
            head_in_features: names of the features that the head reads; by default all, finest
                first.
            pixel_mean: per channel.
            pixel_std: per channel.
        """
        super().__init__(backbone, pixel_mean, pixel_std)
        self.head = head
        shapes = backbone.output_shape()
        by_stride = sorted(shapes, key=lambda name: shapes[name].stride or 0)
        self.head_in_features = list(by_stride if head_in_features is None else head_in_features)

    def forward(self, batched_inputs: list[dict[str, Any]]) -> Any:
        """Compute losses in training, detections otherwise.

        Args:
            batched_inputs: one dict per image: `image` (C, H, W); `instances` in training; `height`
                and `width`, the size in which to give the detections, in inference.

        Returns:
            In training a dict of scalar losses, else a list of `{"instances": Instances}`.

        Raises:
            ValueError: an image has no `instances` in training.
        """
        images = self.preprocess_image(batched_inputs)
        pyramid = self.backbone(images.tensor)
        features = [pyramid[name] for name in self.head_in_features]
        predictions = self.head(features)
        if self.training:
            truth = [self._instances(x).to(self.device) for x in batched_inputs]
            return self.forward_training(images, features, predictions, truth)
        results = self.forward_inference(images, features, predictions)
        scaled = scale_to_outputs(results, batched_inputs, images.image_sizes)
        return [{"instances": detections} for detections in scaled]

    @abstractmethod
    def forward_training(
        self, images: ImageList, features: list[Tensor], predictions: Any, gt_instances: Any
    ) -> dict[str, Tensor]:
        """Compute the losses of a batch."""

    @abstractmethod
    def forward_inference(
        self, images: ImageList, features: list[Tensor], predictions: Any
    ) -> list[Instances]:
        """Detect in every image of a batch, in its input size."""

    @staticmethod
    def _instances(batched_input: dict[str, Any]) -> Instances:
        if "instances" not in batched_input:
            name = batched_input.get("file_name", "an image")
            raise ValueError(f"No ground truth for {name} in training: give 'instances'.")
        return batched_input["instances"]

    def _transpose_dense_predictions(
        self, predictions: Sequence[list[Tensor]], dims_per_anchor: list[int]
    ) -> list[list[Tensor]]:
        """Bring each kind of predicted maps, per level, into the order of the anchors."""
        return [
            [permute_to_N_HWA_K(level, size) for level in kind]
            for kind, size in zip(predictions, dims_per_anchor, strict=True)
        ]

    def _ema_update(
        self, name: str, value: float, initial_value: float, momentum: float = 0.9
    ) -> float:
        """Move the number `self.<name>`, which starts at `initial_value`, towards `value`."""
        old = getattr(self, name, initial_value)
        setattr(self, name, momentum * old + (1 - momentum) * value)
        return getattr(self, name)

    def _decode_per_level_predictions(
        self,
        anchors: Boxes,
        pred_scores: Tensor,
        pred_deltas: Tensor,
        score_thresh: float,
        topk_candidates: int,
        image_size: tuple[int, int],
    ) -> Instances:
        """Decode the best (anchor, class) pairs of one level and image.

        Args:
            anchors: R boxes.
            pred_scores: (R, K), probabilities.
            pred_deltas: (R, 4).
            score_thresh: lowest score, exclusive.
            topk_candidates: highest number of pairs.
            image_size: height and width of the image.

        Returns:
            Instances with `pred_boxes`, `scores`, `pred_classes` and `pred_anchors`, the indices of
            their anchors, best first.
        """
        chosen, classes = (pred_scores > score_thresh).nonzero(as_tuple=True)
        scores = pred_scores[chosen, classes]
        scores, best = scores.topk(min(topk_candidates, len(scores)))
        chosen, classes = chosen[best], classes[best]
        boxes = self.box2box_transform.apply_deltas(pred_deltas[chosen], anchors.tensor[chosen])
        fields: dict[str, Tensor] = {
            "scores": scores,
            "pred_classes": classes,
            "pred_anchors": chosen,
        }
        return Instances(image_size, pred_boxes=Boxes(boxes), **fields)

    def _decode_multi_level_predictions(
        self,
        anchors: list[Boxes],
        pred_scores: list[Tensor],
        pred_deltas: list[Tensor],
        score_thresh: float,
        topk_candidates: int,
        image_size: tuple[int, int],
    ) -> Instances:
        """Decode the pairs of all levels of one image; `pred_levels` are the levels' indices."""
        found = [
            self._decode_per_level_predictions(*level, score_thresh, topk_candidates, image_size)
            for level in zip(anchors, pred_scores, pred_deltas, strict=True)
        ]
        for index, of_level in enumerate(found):
            of_level.pred_levels = torch.full_like(of_level.pred_classes, index)
        return Instances.cat(found)
