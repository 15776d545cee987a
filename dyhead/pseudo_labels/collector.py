"""Turns detections above their thresholds into COCO's images and annotations."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dyhead.d2.evaluation import DatasetEvaluator
from dyhead.d2.structures import Instances
from dyhead.pseudo_labels.categories import LabelledCategory
from dyhead.pseudo_labels.images import UNREADABLE

_MIN_SIDE = 1.0  # pixels; smaller boxes teach nothing, and the data checks leave such out
_DIGITS = 2  # of coordinates: a hundredth of a pixel


class LabelCollector(DatasetEvaluator):
    """Collects the detections of images as COCO annotations.

    Attributes:
        images: COCO's entries; without `keep_empty` those of images with labels only.
        annotations: COCO's entries, boxes (x, y, width, height) in pixels, with their `score`.
        unreadable: file -> reason.
        num_images: images that were looked at, unreadable ones aside.
        highest_score: of all detections, kept or not.
    """

    def __init__(
        self, image_root: Path, categories: Sequence[LabelledCategory], keep_empty: bool = False
    ) -> None:
        self._image_root = image_root
        self._categories = categories
        self._keep_empty = keep_empty
        self.reset()

    def reset(self) -> None:
        """Forget everything."""
        self.images: list[dict[str, Any]] = []
        self.annotations: list[dict[str, Any]] = []
        self.unreadable: dict[str, str] = {}
        self.num_images = 0
        self.highest_score = 0.0

    def process(self, inputs: Sequence[Any], outputs: Sequence[Any]) -> None:
        """Take the detections of one batch.

        Args:
            inputs: dicts of `build_image_loader`.
            outputs: the model's, XYXY in pixels of the file's image; None for unreadable images.
        """
        for image, output in zip(inputs, outputs, strict=True):
            file_name = Path(image["file_name"]).relative_to(self._image_root).as_posix()
            if UNREADABLE in image:
                self.unreadable[file_name] = image[UNREADABLE]
            else:
                self._add_image(image, file_name, output["instances"].to("cpu"))

    def _add_image(self, image: dict[str, Any], file_name: str, instances: Instances) -> None:
        self.num_images += 1
        labels = self._labels(instances, image["width"], image["height"])
        if not labels and not self._keep_empty:
            return
        entry = {"id": image["image_id"], "file_name": file_name}
        self.images.append({**entry, "width": image["width"], "height": image["height"]})
        for label in labels:
            number = len(self.annotations) + 1
            self.annotations.append({"id": number, "image_id": image["image_id"], **label})

    def _labels(self, instances: Instances, width: int, height: int) -> list[dict[str, Any]]:
        boxes = instances.pred_boxes.tensor.tolist()  # (N, 4)
        labels = []
        for box, score, index in zip(
            boxes, instances.scores.tolist(), instances.pred_classes.tolist(), strict=True
        ):
            self.highest_score = max(self.highest_score, score)
            category = self._categories[index]
            bbox = _inside_xywh(box, width, height)
            if score >= category.threshold and min(bbox[2:]) > _MIN_SIDE:
                labels.append(
                    {
                        "category_id": category.category_id,
                        "bbox": bbox,
                        "area": round(bbox[2] * bbox[3], _DIGITS),
                        "iscrowd": 0,
                        "score": round(score, 4),
                    }
                )
        return labels


def _inside_xywh(box: Sequence[float], width: int, height: int) -> list[float]:
    """Clip an XYXY box to the image and convert it to (x, y, width, height)."""
    left, right = (min(max(x, 0.0), width) for x in box[0::2])
    top, bottom = (min(max(y, 0.0), height) for y in box[1::2])
    return [round(value, _DIGITS) for value in (left, top, right - left, bottom - top)]
