"""Multi-scale testing: a detector looks at several sizes and mirror images of every image.

Detectron2's own `GeneralizedRCNNWithTTA` serves two-stage detectors only. This one needs no more of
a model than its boxes: it works for every meta-architecture that keeps Detectron2's interface.

Shape letters: C channels, H x W pixels of an image, D detections.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from dyhead.d2.config import CfgNode, configurable
from dyhead.d2.layers import batched_nms
from dyhead.d2.structures import Boxes, Instances
from dyhead.data.reading import read_image
from dyhead.errors import UserError
from dyhead.modeling.box_fusion import fuse_boxes, rescale_scores
from dyhead.modeling.tta.views import View, plan_views

_MERGES = ("nms", "wbf")


class Detections(NamedTuple):
    """Boxes found in one image, in pixels of the original image."""

    boxes: Tensor  # (D, 4), XYXY
    scores: Tensor  # (D,)
    classes: Tensor  # (D,), indices


class MultiScaleTesting(nn.Module):
    """A detector that merges what another one finds in several views of an image.

    The views are computed one after the other, so a batch needs no more memory than in testing at
    the largest scale alone. A single view is not merged: its detections are the model's own.

    Args:
        model: takes Detectron2's inputs and returns `[{"instances": Instances}]` with
            `pred_boxes`, `scores` and `pred_classes`, at the inputs' `height` and `width`.
        views: what to look at; see `plan_views`.
        merge: "nms", or "wbf" for weighted box fusion. There the score of a fused box is lowered
            by the share of views that found it, among those at which its size is valid.
        iou_threshold: two boxes of a class that overlap by more show the same object; 0 takes
            the NMS threshold of the model itself.
        max_detections_per_image: number of detections returned; negative for all.
        image_format: channel order in which the model takes images, such as "BGR".

    Raises:
        UserError: an option cannot be used.
    """

    @configurable
    def __init__(
        self,
        model: nn.Module,
        *,
        views: Sequence[View],
        merge: str = "nms",
        iou_threshold: float = 0.0,
        max_detections_per_image: int = 100,
        image_format: str = "BGR",
    ) -> None:
        super().__init__()
        check_merging(merge, iou_threshold)
        self.views = list(views)
        self.merge = merge
        self.iou_threshold = iou_threshold or _own_nms_threshold(model)
        self.max_detections_per_image = max_detections_per_image
        self.image_format = image_format
        self.model = model
        self.training = model.training  # the mode to which an evaluation returns

    @classmethod
    def from_config(cls, cfg: CfgNode, model: nn.Module) -> dict[str, Any]:
        """Read the constructor's arguments from TEST.AUG."""
        aug = cfg.TEST.AUG
        return {
            "model": model,
            "views": plan_views(aug.MIN_SIZES, aug.MAX_SIZE, aug.FLIP, aug.VALID_SIZES),
            "merge": aug.MERGE,
            "iou_threshold": aug.IOU_THRESHOLD,
            "max_detections_per_image": cfg.TEST.DETECTIONS_PER_IMAGE,
            "image_format": cfg.INPUT.FORMAT,
        }

    @torch.no_grad()
    def forward(self, batched_inputs: list[dict[str, Any]]) -> list[dict[str, Instances]]:
        """Detect in all views of every image.

        Args:
            batched_inputs: one dict per image: `image` (C, H, W), and `file_name`, from which the
                image is read again, so that no view is scaled twice; without it the views are made
                of `image`. `height` and `width` give the size in which to return the boxes, by
                default that of `image`; valid sizes are sizes there.

        Returns:
            `[{"instances": Instances}]` with `pred_boxes`, `scores` and `pred_classes`, best first.

        Raises:
            RuntimeError: the model is in training mode.
        """
        if self.model.training:
            raise RuntimeError("Multi-scale testing needs a model in evaluation mode: eval() it.")
        inputs = [_with_output_size(x) for x in batched_inputs]
        originals = [self._read(x) for x in inputs]
        of_views = [self._detect(view, inputs, originals) for view in self.views]
        return [
            {"instances": self._merge(detections, (x["height"], x["width"]))}
            for detections, x in zip(zip(*of_views, strict=True), inputs, strict=True)
        ]

    def _read(self, x: dict[str, Any]) -> np.ndarray:
        """Read the unscaled image, (H, W, C)."""
        if x.get("file_name"):
            return read_image(x["file_name"], format=self.image_format)
        return x["image"].permute(1, 2, 0).cpu().numpy()

    def _detect(
        self, view: View, inputs: list[dict[str, Any]], originals: list[np.ndarray]
    ) -> list[Detections]:
        """Detect in one view of every image of a batch."""
        outputs = self.model(
            [
                {**x, "image": view.look(original)}
                for x, original in zip(inputs, originals, strict=True)
            ]
        )
        return [
            _in_original(output["instances"], view, x["width"])
            for output, x in zip(outputs, inputs, strict=True)
        ]

    def _merge(self, of_views: Sequence[Detections], image_size: tuple[int, int]) -> Instances:
        """Make one set of detections out of those of all views of an image."""
        merged = Detections(*(torch.cat(parts) for parts in zip(*of_views, strict=True)))
        if len(of_views) > 1:
            merged = self._suppress(merged) if self.merge == "nms" else self._fuse(merged)
        best = merged.scores.argsort(descending=True, stable=True)
        if self.max_detections_per_image >= 0:
            best = best[: self.max_detections_per_image]
        boxes, scores, classes = (part[best] for part in merged)
        return Instances(image_size, pred_boxes=Boxes(boxes), scores=scores, pred_classes=classes)

    def _suppress(self, detections: Detections) -> Detections:
        keep = batched_nms(*detections, self.iou_threshold)
        return Detections(*(part[keep] for part in detections))

    def _fuse(self, detections: Detections) -> Detections:
        boxes, scores, classes, counts = fuse_boxes(*detections, self.iou_threshold)
        num_views = torch.stack([view.sees(boxes) for view in self.views]).sum(dim=0)
        return Detections(boxes, rescale_scores(scores, counts, num_views), classes)


def check_merging(merge: str, iou_threshold: float) -> None:
    """Refuse what `MultiScaleTesting` cannot merge by.

    Raises:
        UserError: TEST.AUG.MERGE or TEST.AUG.IOU_THRESHOLD cannot be used.
    """
    if merge not in _MERGES:
        raise UserError(f"TEST.AUG.MERGE is {merge!r}: make it {' or '.join(map(repr, _MERGES))}.")
    if not 0 <= iou_threshold < 1:
        raise UserError(
            f"TEST.AUG.IOU_THRESHOLD is {iou_threshold}: make it at least 0 (0 is the detector's"
            " own threshold) and less than 1."
        )


def _own_nms_threshold(model: nn.Module) -> float:
    """Find the IoU threshold of a model's last NMS: Detectron2's detectors agree on its name."""
    for module in model.modules():
        threshold = getattr(module, "test_nms_thresh", None)
        if isinstance(threshold, int | float):
            return float(threshold)
    raise UserError(
        f"TEST.AUG.IOU_THRESHOLD is 0.0, but {type(model).__name__} names no NMS threshold of its"
        " own: set it, for example to 0.6."
    )


def _with_output_size(x: dict[str, Any]) -> dict[str, Any]:
    height, width = x["image"].shape[-2:]
    return {**x, "height": x.get("height", height), "width": x.get("width", width)}


def _in_original(instances: Instances, view: View, width: int) -> Detections:
    """Unflip a view's detections of valid sizes; they are given at the original size."""
    boxes = view.unflip(instances.pred_boxes.tensor, width)
    is_valid = view.sees(boxes)
    return Detections(boxes[is_valid], instances.scores[is_valid], instances.pred_classes[is_valid])
