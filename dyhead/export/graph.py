"""A dense detector as a function of tensors alone, which torch.export can record.

Shape letters: N pictures, C channels, H x W a picture, R anchors of a level, T anchors of all
levels, K classes, D candidates of all levels, M detections.
"""

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dyhead.d2.modeling.meta_arch import META_ARCH_REGISTRY, RetinaNet
from dyhead.errors import UserError
from dyhead.modeling.meta_arch.dense_detector import (
    DenseDetector,
    DensePredictions,
    flatten_maps,
)
from dyhead.modeling.meta_arch.dense_inference import EMPTY
from dyhead.ops.suppression import non_max_suppression

_EXPORTABLE = (DenseDetector, RetinaNet)
INPUT_NAME = "images"
OUTPUTS = ("boxes", "scores", "classes", "num_detections")
RAW_OUTPUTS = ("boxes", "scores")


class Level(NamedTuple):
    """The predictions of one level."""

    anchors: Tensor  # (R, 4), XYXY in pixels
    class_scores: Tensor  # (N, R, K), probabilities
    deltas: Tensor  # (N, R, 4)
    quality: Tensor | None  # (N, R), probabilities; None for detectors that have none


class Candidates(NamedTuple):
    """The input of non-maximum suppression; the score EMPTY marks padding."""

    boxes: Tensor  # (N, D, 4), XYXY in pixels
    scores: Tensor  # (N, D)
    classes: Tensor  # (N, D), int64


class DetectionGraph(nn.Module):
    """A detector from pictures to detections, or to what precedes non-maximum suppression.

    It gives what the detector gives for pictures that are all of one size, in tensors whose sizes
    do not depend on what is found.

    Args:
        model: a `DenseDetector`, or the host's RetinaNet.
        with_nms: end with detections.

    Raises:
        UserError: the model is of another architecture, or it takes squares of one size only.
    """

    def __init__(self, model: nn.Module, with_nms: bool = True) -> None:
        super().__init__()
        check_architecture(model)
        self.model: Any = model
        self.with_nms = with_nms

    @property
    def outputs(self) -> tuple[str, ...]:
        """The names of the outputs of `forward`."""
        return OUTPUTS if self.with_nms else RAW_OUTPUTS

    @property
    def size_divisibility(self) -> int:
        """The number of pixels to whose multiples pictures are padded."""
        constraints = self.model.backbone.padding_constraints
        own = self.model.backbone.size_divisibility
        return max(1, constraints.get("size_divisibility", own))

    @property
    def coarsest_stride(self) -> int:
        """The stride of the coarsest feature map."""
        return max(int(shape.stride) for shape in self.model.backbone.output_shape().values())

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Detect objects in a batch of pictures.

        Args:
            images: (N, C, H, W), uint8, of any size, resized already, channels in the order of
                INPUT.FORMAT.

        Returns:
            With NMS boxes (N, M, 4), XYXY in pixels of `images` and inside them; scores (N, M),
            best first; classes (N, M), int64; and num_detections (N,), int64, how many of the M
            there are. The others are boxes of zeros with the score 0 and the class -1.

            Without NMS boxes (N, T, 4), and scores (N, T, K) with zeros where the class score does
            not pass the detector's threshold.
        """
        levels = self._predict(self._preprocess(images))
        size = images.shape[-2], images.shape[-1]
        if not self.with_nms:
            return self._all_boxes(levels, size)
        found = [self._best_of_level(level) for level in levels]
        boxes, scores, classes = (torch.cat(parts, dim=1) for parts in zip(*found, strict=True))
        return self._detect(Candidates(boxes, scores, classes), size)

    def _preprocess(self, images: Tensor) -> Tensor:
        """Normalise, and pad at the right and the bottom with zeros."""
        normalised = (images.float() - self.model.pixel_mean) / self.model.pixel_std
        divisor = self.size_divisibility
        height, width = images.shape[-2], images.shape[-1]
        missing_height = (height + divisor - 1) // divisor * divisor - height
        missing_width = (width + divisor - 1) // divisor * divisor - width
        return F.pad(normalised, (0, missing_width, 0, missing_height))

    def _predict(self, images: Tensor) -> list[Level]:
        model = self.model
        pyramid = model.backbone(images)
        features = [pyramid[name] for name in model.head_in_features]
        anchors = _anchors(model.anchor_generator, features)
        maps = model.head(features)
        if isinstance(model, DenseDetector):
            predictions = model.arrange(maps)
        else:
            deltas = flatten_maps(maps[1], 4)
            predictions = DensePredictions(flatten_maps(maps[0], model.num_classes), deltas)
        quality = predictions.quality_logits
        return [
            Level(
                anchors[index],
                predictions.class_logits[index].float().sigmoid(),
                predictions.box_deltas[index],
                None if quality is None else quality[index].float().sigmoid(),
            )
            for index in range(len(anchors))
        ]

    def _scores(self, level: Level) -> tuple[Tensor, Tensor]:
        """Compute final scores and ranking scores, (N, R, K); EMPTY below the threshold."""
        passing = level.class_scores > self.model.test_score_thresh
        scores = ranking = level.class_scores
        if level.quality is not None:
            scores = scores * level.quality[..., None]
            ranking = scores if self.model.rank_by_quality else ranking
        empty = torch.full_like(scores, EMPTY)
        return torch.where(passing, scores, empty), torch.where(passing, ranking, empty)

    def _decode(self, deltas: Tensor, anchors: Tensor) -> Tensor:
        """Decode deltas (N, D, 4) and anchors (N, D, 4) to boxes (N, D, 4)."""
        decoded = self.model.box2box_transform.apply_deltas(
            deltas.reshape(-1, 4), anchors.reshape(-1, 4)
        )
        return decoded.reshape(deltas.shape)

    def _best_of_level(self, level: Level) -> Candidates:
        """Select the top-k (anchor, class) pairs of a level, k being the same for every level."""
        count, num_classes = self.model.test_topk_candidates, self.model.num_classes
        # Padded, so that even the smallest level has k pairs.
        scores, ranking = (
            F.pad(values.flatten(1), (0, count), value=EMPTY) for values in self._scores(level)
        )
        best = ranking.topk(count, dim=1).indices
        chosen_scores = scores.gather(1, best)
        best = torch.where(chosen_scores == EMPTY, torch.zeros_like(best), best)
        anchor = torch.div(best, num_classes, rounding_mode="floor")
        deltas = level.deltas.gather(1, anchor[..., None].expand(-1, -1, 4))
        boxes = self._decode(deltas, level.anchors[anchor])
        return Candidates(boxes, chosen_scores, best - anchor * num_classes)

    def _detect(self, found: Candidates, size: tuple[int, int]) -> tuple[Tensor, ...]:
        boxes, scores, classes = found
        if self._clips_first:
            boxes, scores = self._clipped(boxes, scores, size)
        kept = non_max_suppression(
            boxes, scores, classes, self.model.num_classes, float(self.model.test_nms_thresh)
        )
        scores = torch.where(kept, scores, torch.full_like(scores, EMPTY))
        wanted = self.model.max_detections_per_image
        count = scores.shape[1] if wanted < 0 else min(wanted, scores.shape[1])
        boxes, scores, classes = _best(boxes, scores, classes, count)
        boxes, scores = self._clipped(boxes, scores, size)
        boxes, scores, classes = _best(boxes, scores, classes, count)  # empty boxes to the end
        is_there = scores != EMPTY
        return (
            torch.where(is_there[..., None], boxes, torch.zeros_like(boxes)),
            torch.where(is_there, scores, torch.zeros_like(scores)),
            torch.where(is_there, classes, torch.full_like(classes, -1)),
            is_there.sum(dim=1),
        )

    def _all_boxes(self, levels: list[Level], size: tuple[int, int]) -> tuple[Tensor, Tensor]:
        boxes = torch.cat(
            [self._decode(each.deltas, _repeated(each.anchors, each.deltas)) for each in levels],
            dim=1,
        )
        scores = torch.cat([self._scores(level)[0] for level in levels], dim=1)
        if self._clips_first:
            boxes, by_box = self._clipped(boxes, torch.zeros_like(boxes[..., 0]), size)
            scores = torch.where((by_box == EMPTY)[..., None], torch.zeros_like(scores), scores)
        return boxes, scores.clamp(min=0)

    @property
    def _clips_first(self) -> bool:
        return isinstance(self.model, DenseDetector) and self.model.clip_before_nms

    def _clipped(
        self, boxes: Tensor, scores: Tensor, size: tuple[int, int]
    ) -> tuple[Tensor, Tensor]:
        """Clip boxes at the picture's border; those of which nothing is left become EMPTY."""
        height, width = size
        x0, y0, x1, y1 = boxes.unbind(-1)
        x0, x1 = (_clip(side, width) for side in (x0, x1))
        y0, y1 = (_clip(side, height) for side in (y0, y1))
        is_left = (x1 > x0) & (y1 > y0)
        clipped = torch.stack((x0, y0, x1, y1), dim=-1)
        return clipped, torch.where(is_left, scores, torch.full_like(scores, EMPTY))


def check_architecture(model: nn.Module) -> None:
    """Refuse architectures that cannot be expressed as a graph.

    Raises:
        UserError: see `DetectionGraph`.
    """
    if not isinstance(model, _EXPORTABLE):
        kinds = dict(META_ARCH_REGISTRY)
        exportable = [name for name, kind in kinds.items() if issubclass(kind, _EXPORTABLE)]
        raise UserError(
            f"{type(model).__name__} cannot be exported, since its later stages have sizes that"
            f" depend on what is found: {', '.join(sorted(exportable))} can."
        )
    if getattr(model.backbone, "padding_constraints", {}).get("square_size", 0):
        raise UserError("A backbone that takes squares of one size only cannot be exported.")


def _clip(coordinates: Tensor, length: Any) -> Tensor:
    return coordinates.clamp(min=0).minimum(coordinates.new_full((), length))


def _anchors(generator: Any, features: list[Tensor]) -> list[Tensor]:
    """Compute the anchors (R, 4) of every level, as either host's `DefaultAnchorGenerator`.

    Genuine Detectron2's own code counts positions by rounding floats, which torch.export takes for
    a condition on the sizes.
    """
    anchors = []
    for feature, stride, cell in zip(
        features, generator.strides, generator.cell_anchors, strict=True
    ):
        y, x = torch.meshgrid(
            *(
                (torch.arange(side, dtype=torch.float32) + generator.offset) * stride
                for side in feature.shape[-2:]
            ),
            indexing="ij",
        )
        centers = torch.stack([x, y, x, y], dim=-1)  # (H, W, 4)
        anchors.append((centers[:, :, None] + cell).reshape(-1, 4))
    return anchors


def _repeated(anchors: Tensor, deltas: Tensor) -> Tensor:
    """Repeat the anchors (R, 4) for every picture, (N, R, 4)."""
    return anchors.expand_as(deltas).clone(memory_format=torch.contiguous_format)


def _best(
    boxes: Tensor, scores: Tensor, classes: Tensor, count: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Take the `count` highest scores with their boxes and classes, in descending order."""
    scores, best = scores.topk(count, dim=1)
    return boxes.gather(1, best[..., None].expand(-1, -1, 4)), scores, classes.gather(1, best)
