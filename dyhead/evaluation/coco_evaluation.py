"""The host's COCO evaluation of boxes, made to say what it counts and what it leaves out."""

import contextlib
import importlib.metadata
import io
import logging
import math
import sys
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from pycocotools.coco import COCO

from dyhead.d2.data import MetadataCatalog
from dyhead.d2.evaluation import COCOEvaluator
from dyhead.d2.utils import comm
from dyhead.evaluation.average_precision import METRICS, average_precision, no_detections
from dyhead.evaluation.detection_limits import (
    COCO_LIMIT,
    COCOevalWithLimit,
    FastCOCOevalWithLimit,
    describe_limits,
    measure_crowdedness,
)
from dyhead.evaluation.fast_coco_eval import PACKAGE, is_installed
from dyhead.evaluation.original_ids import OriginalIdsEvaluator

IMAGES, OF = "images", "of"  # scores that say over how many of a set's images AP was computed

logger = logging.getLogger(__name__)


def build_coco_evaluator(
    dataset_name: str, output_dir: str | None, *, fast: bool = True, kept: int = COCO_LIMIT
) -> "COCOBoxEvaluator":
    """Build the evaluator of a data set, the fast one if wanted and installed, and log which it is.

    Args:
        dataset_name: a registered data set.
        output_dir: folder of `coco_instances_results.json`; None writes nothing.
        fast: use faster-coco-eval where it is installed.
        kept: TEST.DETECTIONS_PER_IMAGE.
    """
    is_fast = fast and is_installed()
    name = f"{PACKAGE} {importlib.metadata.version(PACKAGE)}" if is_fast else "the host's own class"
    # Genuine Detectron2 has a fast class of its own, where it was compiled: let it take that.
    host_chooses = fast and not is_fast and kept <= COCO_LIMIT
    evaluator = COCOBoxEvaluator(
        dataset_name, output_dir, kept, is_fast, use_fast_impl=host_chooses
    )
    if comm.is_main_process():
        logger.info("AP on %s is computed by %s", dataset_name, name)
        evaluator.log_limits()
    return evaluator


class COCOBoxEvaluator(OriginalIdsEvaluator):
    """A COCOEvaluator of the host that also says what its numbers are of.

    - AP, AP50, ... are COCO's. Where more than 100 detections of an image are kept, "AP@500",
      "AP50@500", ... beside them count so many.
    - AP is over the images that the evaluator was given. Where those are fewer than the data set
      names, for whatever reason, "images" and "of" beside it say how many of how many.
    - A data set without an object that could count has its results written, and no AP.
    """

    def __init__(
        self, dataset_name: str, output_dir: str | None, kept: int, is_fast: bool, **options: Any
    ) -> None:
        """Prepare to evaluate.

        Args:
            dataset_name: a registered data set.
            output_dir: folder of `coco_instances_results.json`; None writes nothing.
            kept: the number of detections of an image that the detector keeps.
            is_fast: compute by faster-coco-eval.
            options: further ones of the host's COCOEvaluator.
        """
        super().__init__(dataset_name, output_dir=output_dir, **options)
        self._kept = kept
        self._is_fast = is_fast
        self._given: set[Any] = set()
        annotations = self._coco_api.dataset.get("annotations", ())
        self._crowdedness = measure_crowdedness(annotations, kept)

    def log_limits(self) -> None:
        """Log how many detections count, as a warning where there are more objects than that."""
        if self._kept > COCO_LIMIT:
            logger.info(
                "COCO's AP counts %d detections of a category in an image; AP@%d, AP50@%d and so on"
                " count the %d that TEST.DETECTIONS_PER_IMAGE keeps.",
                *(COCO_LIMIT, self._kept, self._kept, self._kept),
            )
        for message in describe_limits(self._dataset_name, self._crowdedness, self._kept):
            logger.warning("%s", message)

    def reset(self) -> None:
        """Forget everything; called before each evaluation."""
        super().reset()
        self._given = set()

    def process(
        self, inputs: Sequence[Mapping[str, Any]], outputs: Sequence[Mapping[str, Any]]
    ) -> None:
        """Take the detections of one batch; see the host's class."""
        super().process(inputs, outputs)
        self._given.update(image["image_id"] for image in inputs)

    def evaluate(self, img_ids: Collection[Any] | None = None) -> dict[str, Any]:
        """Compute the scores in the main process.

        Args:
            img_ids: count these only of the images that the evaluator was given.

        Returns:
            {"bbox": {metric: score}}, with "images" and "of" as the class says; empty in other
            processes, and where no image was given.

        Raises:
            ValueError: none of `img_ids` was given.
        """
        given = self._gathered()
        counted = given if img_ids is None else given & set(img_ids)
        if given and not counted:
            raise ValueError("img_ids holds no image that the evaluator was given: name some.")
        chosen = None if len(counted) == len(self._coco_api.imgs) else sorted(counted)
        computed: list[COCOevalWithLimit] = []
        with _class_in(COCOEvaluator.__module__, self._evaluation, computed):
            results = super().evaluate(chosen)
        if not comm.is_main_process() or not given:
            return results
        if not self._crowdedness.most:
            return {"bbox": self._unscored(len(counted))}
        if math.isnan(results["bbox"]["AP"]):  # genuine Detectron2's answer to no detection at all
            results["bbox"] = self._score_nothing(chosen, computed)
        for coco_eval in computed:
            task = coco_eval.params.iouType
            results[task] = _beside(results[task], coco_eval.further)
        return {**results, "bbox": self._with_coverage(results["bbox"], len(counted))}

    def _gathered(self) -> set[Any]:
        """Return the ids of the images that all processes were given, in the main one."""
        if not self._distributed:
            return self._given
        return set().union(*comm.gather(self._given, dst=0))

    @property
    def _num_images(self) -> int:
        """The number of images that the data set names, usable or not."""
        named = MetadataCatalog.get(self._dataset_name).get("num_named_images", 0)
        return max(named, len(self._coco_api.imgs))

    def _with_coverage(self, scores: dict[str, float], num_counted: int) -> dict[str, float]:
        """Put "images" and "of" beside the scores where some images were left out."""
        if num_counted == self._num_images:
            return scores
        logger.warning(
            "The AP on %r is over %d of its %d images: the others were left out.",
            *(self._dataset_name, num_counted, self._num_images),
        )
        return _beside(scores, {IMAGES: num_counted, OF: self._num_images})

    def _unscored(self, num_counted: int) -> dict[str, float]:
        logger.warning(
            "Nothing to score: %r has no object that counts. Its detections are in %s.",
            *(self._dataset_name, self._output_dir or "no file, for no folder was named"),
        )
        return {IMAGES: num_counted, OF: self._num_images}

    def _evaluation(self, truth: COCO, detections: COCO, iou_type: str) -> COCOevalWithLimit:
        evaluation = FastCOCOevalWithLimit if self._is_fast else COCOevalWithLimit
        return evaluation(truth, detections, iou_type, self._kept)

    def _score_nothing(
        self, image_ids: list[Any] | None, computed: list[COCOevalWithLimit]
    ) -> dict[str, float]:
        """Compute the scores of no detection at all: 0 wherever there is an object."""
        coco_eval = self._evaluation(self._coco_api, no_detections(self._coco_api), "bbox")
        coco_eval.params.imgIds = image_ids or coco_eval.params.imgIds
        with contextlib.redirect_stdout(io.StringIO()):
            coco_eval.evaluate()
            coco_eval.accumulate()
        computed.append(coco_eval)
        scores = {
            metric: average_precision(coco_eval, iou, area)
            for metric, (iou, area) in METRICS.items()
        }
        names = MetadataCatalog.get(self._dataset_name).get("thing_classes", ())
        for index, name in enumerate(names if len(names) > 1 else ()):
            scores[f"AP-{name}"] = average_precision(coco_eval, category=index)
        return scores


def _beside(scores: Mapping[str, float], more: Mapping[str, float]) -> dict[str, float]:
    """Put further scores behind those of all categories together, before those of each."""
    overall = {name: score for name, score in scores.items() if not name.startswith("AP-")}
    return {**overall, **more, **scores}


@contextmanager
def _class_in(
    module_name: str, build: Callable[..., COCOevalWithLimit], built: list[COCOevalWithLimit]
) -> Iterator[None]:
    """Let a host's module evaluate by ours meanwhile: neither host takes a class as an argument.

    Args:
        module_name: the host's.
        build: takes truth, detections and type, as COCOeval does.
        built: takes what the host has built by it.
    """

    def build_and_keep(*arguments: Any) -> COCOevalWithLimit:
        built.append(build(*arguments))
        return built[-1]

    module: Any = sys.modules[module_name]
    official, module.COCOeval = module.COCOeval, build_and_keep
    try:
        yield
    finally:
        module.COCOeval = official
