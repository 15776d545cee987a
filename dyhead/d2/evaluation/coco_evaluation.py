"""COCO's average precision of detected boxes, computed by pycocotools."""

import contextlib
import io
import itertools
import logging
import math
import os
from collections import OrderedDict
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from fvcore.common.config import CfgNode  # the base of either host's
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from tabulate import tabulate

from dyhead.evaluation.average_precision import METRICS, average_precision, no_detections
from dyhead.safe_io.json_text import write_json

from ..data import MetadataCatalog
from ..data.datasets import convert_to_coco_json
from ..structures import BoxMode, Instances
from ..utils import comm
from ..utils.file_io import PathManager
from ..utils.logger import create_small_table
from .evaluator import DatasetEvaluator

logger = logging.getLogger("detectron2.evaluation.coco_evaluation")


class COCOEvaluator(DatasetEvaluator):
    """Box AP from 0 to 100, as COCO defines it, over a data set and for each of its categories.

    NaN stands for what cannot be computed: the AP of sizes or categories without annotations.
    Without any detection AP is 0 and the table whole (Detectron2 answers with NaN alone).

    Args:
        dataset_name: a registered data set; one without a COCO json is written as one to
            `output_dir` first.
        tasks: None or ("bbox",); a config, as older code passes it, stands for None.
        distributed: collect the results of all processes in the main one.
        output_dir: where `coco_instances_results.json` goes; None writes nothing.
        max_dets_per_image: the detections that count for an image; None is COCO's 100.
        use_fast_impl: accepted for compatibility: there is one implementation, the official one.
        kpt_oks_sigmas: must stay empty: keypoints are not evaluated here.
        allow_cached_coco: keep a json that an earlier run wrote for a data set without one.

    Raises:
        ValueError: other tasks than boxes, or no `output_dir` for a data set without json.
    """

    def __init__(
        self,
        dataset_name: str,
        tasks: Collection[str] | CfgNode | None = None,
        distributed: bool = True,
        output_dir: str | None = None,
        *,
        max_dets_per_image: int | None = None,
        use_fast_impl: bool = True,
        kpt_oks_sigmas: Sequence[float] = (),
        allow_cached_coco: bool = True,
    ) -> None:
        if isinstance(tasks, CfgNode):
            tasks = None
        if set(tasks or ()) - {"bbox"} or len(kpt_oks_sigmas):
            raise ValueError(
                f"tasks={tasks}, kpt_oks_sigmas={kpt_oks_sigmas}: the embedded host evaluates boxes"
                " only; run with genuine Detectron2 for masks and keypoints."
            )
        self._distributed = distributed
        self._output_dir = output_dir
        self._max_dets = [1, 10, 100 if max_dets_per_image is None else max_dets_per_image]
        self._metadata = MetadataCatalog.get(dataset_name)
        if not hasattr(self._metadata, "json_file"):
            self._metadata.json_file = _written_as_coco(dataset_name, output_dir, allow_cached_coco)
        self._coco_api = _read_coco(PathManager.get_local_path(self._metadata.json_file))
        self._predictions: list[dict[str, Any]] = []

    def reset(self) -> None:  # noqa: D102
        self._predictions = []

    def process(
        self, inputs: Sequence[Mapping[str, Any]], outputs: Sequence[Mapping[str, Any]]
    ) -> None:
        """Take the detections of one batch.

        Args:
            inputs: dicts with "image_id".
            outputs: dicts with "instances": `pred_boxes`, XYXY in pixels, `scores` and
                `pred_classes`.
        """
        for image, output in zip(inputs, outputs, strict=True):
            if "proposals" in output:
                raise NotImplementedError(
                    "The embedded host does not score proposals (ProposalNetwork): run with genuine"
                    " Detectron2."
                )
            instances = output["instances"].to("cpu")
            detections = instances_to_coco_json(instances, image["image_id"])
            self._predictions.append({"image_id": image["image_id"], "instances": detections})

    def evaluate(self, img_ids: Sequence[int] | None = None) -> dict[str, Any]:
        """Compute the metrics, in the main process.

        Args:
            img_ids: the images to count; None counts all of the data set.

        Returns:
            {"bbox": {metric: score}}; empty elsewhere, and where there are no annotations.
        """
        predictions = self._predictions
        if self._distributed:
            comm.synchronize()
            gathered = comm.gather(predictions, dst=0)
            if not comm.is_main_process():
                return {}
            predictions = list(itertools.chain(*gathered))
        if not predictions:
            logger.warning("COCOEvaluator was given no image: there is nothing to evaluate.")
            return {}
        results = self._with_dataset_categories(predictions)
        self._write_results(results)
        if "annotations" not in self._coco_api.dataset:
            logger.info("The data set has no annotations: its results are saved, not scored.")
            return {}
        return OrderedDict(bbox=self._score(results, img_ids))

    def _with_dataset_categories(self, predictions: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """All detections, with the data set's own category ids instead of 0, 1, ..."""
        detections = itertools.chain.from_iterable(image["instances"] for image in predictions)
        to_contiguous = self._metadata.get("thing_dataset_id_to_contiguous_id")
        if to_contiguous is None:
            return list(detections)
        to_dataset = {contiguous: dataset for dataset, contiguous in to_contiguous.items()}
        results = []
        for detection in detections:
            category = detection["category_id"]
            if category not in to_dataset:
                raise AssertionError(
                    f"A prediction has class={category}, but the data set has the"
                    f" {len(to_dataset)} classes 0 to {max(to_dataset)}: set NUM_CLASSES to them."
                )
            results.append({**detection, "category_id": to_dataset[category]})
        return results

    def _write_results(self, results: list[dict[str, Any]]) -> None:
        if self._output_dir:
            PathManager.mkdirs(self._output_dir)
            path = os.path.join(self._output_dir, "coco_instances_results.json")
            logger.info("Saving results to %s", path)
            write_json(results, path)

    def _score(
        self, results: list[dict[str, Any]], img_ids: Sequence[int] | None
    ) -> dict[str, float]:
        if not results:
            logger.warning("The model detected nothing in any image: every AP is 0.")
        coco_eval = _evaluate_boxes(self._coco_api, results, self._max_dets, img_ids)
        scores = {
            metric: average_precision(coco_eval, iou, area)
            for metric, (iou, area) in METRICS.items()
        }
        logger.info("Evaluation results for bbox: \n%s", create_small_table(scores))
        if not math.isfinite(sum(scores.values())):
            logger.info("NaN: nothing of that size is annotated.")
        per_category = self._score_categories(coco_eval)
        return {**scores, **{f"AP-{name}": score for name, score in per_category.items()}}

    def _score_categories(self, coco_eval: COCOeval) -> dict[str, float]:
        names = self._metadata.get("thing_classes")
        if names is None or len(names) <= 1:
            return {}
        ids = coco_eval.params.catIds
        if len(ids) != len(names):
            raise AssertionError(
                f"The json has {len(ids)} categories, the data set's thing_classes {len(names)}."
            )
        # Category ids without a mapping are contiguous already: their order is the classes'.
        contiguous = self._metadata.get("thing_dataset_id_to_contiguous_id", {})
        scores = {
            names[contiguous.get(category, index)]: average_precision(coco_eval, category=index)
            for index, category in enumerate(ids)
        }
        logger.info("Per-category bbox AP: \n%s", _category_table(scores))
        return scores


def instances_to_coco_json(instances: Instances, img_id: int) -> list[dict[str, Any]]:
    """The detections of one image in COCO's result format: boxes XYWH in pixels.

    Args:
        instances: on the CPU, with `pred_boxes` (XYXY), `scores` and `pred_classes`.
        img_id: the image's id in the data set.
    """
    if len(instances) == 0:
        return []
    boxes = BoxMode.convert(instances.pred_boxes.tensor, BoxMode.XYXY_ABS, BoxMode.XYWH_ABS)
    fields = (instances.pred_classes.tolist(), boxes.tolist(), instances.scores.tolist())
    return [
        {"image_id": img_id, "category_id": category, "bbox": box, "score": score}
        for category, box, score in zip(*fields, strict=True)
    ]


def _written_as_coco(dataset_name: str, output_dir: str | None, allow_cached: bool) -> str:
    if output_dir is None:
        raise ValueError(
            f"{dataset_name} has no json_file in its metadata: give COCOEvaluator an output_dir, to"
            " write one there."
        )
    path = os.path.join(output_dir, f"{dataset_name}_coco_format.json")
    logger.info("Writing %s in COCO format to %s", dataset_name, path)
    convert_to_coco_json(dataset_name, path, allow_cached=allow_cached)
    return path


def _read_coco(json_file: str) -> COCO:
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO(json_file)
    coco.dataset.setdefault("info", {})  # some releases of pycocotools copy it unasked
    for annotation in coco.dataset.get("annotations", ()):
        # pycocotools needs both; many tools write neither.
        annotation.setdefault("iscrowd", 0)
        annotation.setdefault("area", annotation["bbox"][2] * annotation["bbox"][3])
    return coco


def _evaluate_boxes(
    coco_api: COCO,
    results: list[dict[str, Any]],
    max_dets: list[int],
    img_ids: Sequence[int] | None,
) -> COCOeval:
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):  # pycocotools prints; that goes to the log
        detections = coco_api.loadRes(results) if results else no_detections(coco_api)
        coco_eval = COCOeval(coco_api, detections, "bbox")
        coco_eval.params.maxDets = max_dets
        if img_ids is not None:
            coco_eval.params.imgIds = img_ids
        coco_eval.evaluate()
        coco_eval.accumulate()
        printed.truncate(0)
        printed.seek(0)
        if max_dets[-1] == 100:  # its summary knows no other limit
            coco_eval.summarize()
    if printed.getvalue():
        logger.info("COCO's summary:\n%s", printed.getvalue().rstrip())
    return coco_eval


def _category_table(scores: Mapping[str, float]) -> str:
    """Up to three columns of category and AP."""
    num_columns = min(3, len(scores))
    cells = list(itertools.chain.from_iterable(scores.items()))
    width = 2 * num_columns
    return tabulate(
        [cells[start : start + width] for start in range(0, len(cells), width)],
        headers=["category", "AP"] * num_columns,
        tablefmt="pipe",
        floatfmt=".3f",
        numalign="left",
    )
