"""The numbers of detections that COCO's AP counts, and that a detector keeps, for one picture."""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from pycocotools.cocoeval import COCOeval

from dyhead.evaluation.average_precision import METRICS, average_precision
from dyhead.evaluation.fast_coco_eval import FastCOCOeval

COCO_LIMIT = 100  # detections of one category in one image that COCO's AP counts
_BY_LIMIT = ("precision", "recall", "scores")  # arrays whose last dimension is that of the limits


class COCOevalWithLimit(COCOeval):
    """COCO's evaluation, with AP for a higher limit of detections beside COCO's own numbers.

    `eval`, `stats` and the summary are COCO's, with at most 100 detections of a category in an
    image. Matching goes by falling scores, so that more detections change nothing of the first 100:
    one pass serves both limits.

    Attributes:
        further: "AP@500", "AP50@500", ... from 0 to 100, after `accumulate`; empty where the limit
            is not above COCO's.
    """

    def __init__(self, truth: Any, detections: Any, iou_type: str, limit: int) -> None:
        """Evaluate as COCOeval, and with at most `limit` detections."""
        super().__init__(truth, detections, iou_type)
        self._has_further = limit > COCO_LIMIT and iou_type != "keypoints"
        self._limit = limit
        self.further: dict[str, float] = {}

    def evaluate(self) -> None:
        """Match the detections of every image, up to the higher limit."""
        if self._has_further:
            self.params.maxDets = [*self.params.maxDets, self._limit]
        super().evaluate()

    def accumulate(self, p: Any = None) -> None:
        """Set `eval` to COCO's arrays, and `further`; see COCOeval."""
        super().accumulate(p)
        if not self._has_further:
            return
        self.further = {
            f"{metric}@{self._limit}": average_precision(self, iou, area)
            for metric, (iou, area) in METRICS.items()
        }
        self.eval.update({name: self.eval[name][..., :-1] for name in _BY_LIMIT})
        self.params.maxDets = self.params.maxDets[:-1]
        self.eval["counts"] = [*self.eval["counts"][:-1], len(self.params.maxDets)]


class FastCOCOevalWithLimit(COCOevalWithLimit, FastCOCOeval):
    """The same by faster-coco-eval."""


class Crowdedness(NamedTuple):
    """Numbers of images of a data set with more objects than detections count.

    Attributes:
        over_kept: images with more objects than are kept of a detector's.
        most: the most objects in one image.
        over_coco: images with more objects of one category than COCO's AP counts.
        most_of_one: the most objects of one category in one image.
    """

    over_kept: int
    most: int
    over_coco: int
    most_of_one: int


def measure_crowdedness(annotations: Iterable[Mapping[str, Any]], kept: int) -> Crowdedness:
    """Count the objects of each image, crowds aside.

    Args:
        annotations: of COCO's format.
        kept: TEST.DETECTIONS_PER_IMAGE; negative for all.
    """
    by_category = Counter(
        (each["image_id"], each["category_id"]) for each in annotations if not each.get("iscrowd")
    )
    by_image: Counter = Counter()
    for (image_id, _), number in by_category.items():
        by_image[image_id] += number
    dense = {image_id for (image_id, _), number in by_category.items() if number > COCO_LIMIT}
    return Crowdedness(
        over_kept=sum(0 <= kept < number for number in by_image.values()),
        most=max(by_image.values(), default=0),
        over_coco=len(dense),
        most_of_one=max(by_category.values(), default=0),
    )


def describe_limits(dataset_name: str, crowdedness: Crowdedness, kept: int) -> list[str]:
    """Say which objects no detection can count for; empty where every object can be found.

    Args:
        dataset_name: for the text.
        crowdedness: of the data set.
        kept: TEST.DETECTIONS_PER_IMAGE.
    """
    messages = []
    if crowdedness.over_coco:
        remedy = (
            f"AP@{kept} and its like, beside it, count {kept}"
            if kept > COCO_LIMIT
            else f"with TEST.DETECTIONS_PER_IMAGE above {COCO_LIMIT} the AP of so many is computed"
            " beside it"
        )
        messages.append(
            f"A warning on the AP of {dataset_name!r}: COCO's AP counts at most {COCO_LIMIT}"
            f" detections of a category in an image, and {crowdedness.over_coco} of its images have"
            f" more objects of one (up to {crowdedness.most_of_one}); {remedy}."
        )
    if crowdedness.over_kept:
        messages.append(
            f"A warning on the detections for {dataset_name!r}: TEST.DETECTIONS_PER_IMAGE keeps"
            f" {kept} of an image, and {crowdedness.over_kept} of its images have more objects (up"
            f" to {crowdedness.most}), of which the rest cannot be found: raise it."
        )
    return messages
