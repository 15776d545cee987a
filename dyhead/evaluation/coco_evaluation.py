"""Computes COCO's AP, by faster-coco-eval where that is installed (`pip install dyhead[fast]`).

pycocotools matches detections and objects in Python, which takes minutes on COCO's validation set;
faster-coco-eval does the same in C++. The scores are the same.
"""

import importlib.metadata
import importlib.util
import logging
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from pycocotools.cocoeval import COCOeval

from dyhead.d2.evaluation import COCOEvaluator
from dyhead.d2.utils import comm
from dyhead.evaluation.original_ids import OriginalIdsEvaluator

PACKAGE = "faster-coco-eval"
_PARAMETERS = (
    *("imgIds", "catIds", "useCats", "iouThrs", "recThrs"),
    *("maxDets", "areaRng", "areaRngLbl"),
)
_RESULTS = ("precision", "recall", "scores")

logger = logging.getLogger(__name__)


def build_coco_evaluator(
    dataset_name: str, output_dir: str | None, fast: bool = True
) -> COCOEvaluator:
    """Build the host's COCOEvaluator, the fast one if wanted and installed, and log which it is.

    Args:
        dataset_name: a registered data set.
        output_dir: folder of `coco_instances_results.json`; None writes nothing.
        fast: use faster-coco-eval where it is installed.
    """
    is_fast = fast and is_installed()
    name = f"{PACKAGE} {importlib.metadata.version(PACKAGE)}" if is_fast else "the host's own class"
    if comm.is_main_process():
        logger.info("AP on %s is computed by %s", dataset_name, name)
    evaluator = FastCOCOEvaluator if is_fast else OriginalIdsEvaluator
    # Genuine Detectron2 has a fast class of its own, where it was compiled: let it take that.
    host_chooses = fast and not is_fast
    return evaluator(dataset_name, output_dir=output_dir, use_fast_impl=host_chooses)


def is_installed() -> bool:
    """Tell if faster-coco-eval is installed; a broken installation fails when it is used."""
    return importlib.util.find_spec("faster_coco_eval") is not None


class FastCOCOEvaluator(OriginalIdsEvaluator):
    """An evaluator of the host that computes by `FastCOCOeval`."""

    def evaluate(self, img_ids: Sequence[int] | None = None) -> dict[str, Any]:
        """Compute {task: {metric: value}} of the images with these ids, or of all."""
        with _fast_class_in(COCOEvaluator.__module__):
            return super().evaluate(img_ids)


@contextmanager
def _fast_class_in(module_name: str) -> Iterator[None]:
    """Give a host's module the fast class meanwhile: neither host takes it as an argument."""
    module: Any = sys.modules[module_name]
    official, module.COCOeval = module.COCOeval, FastCOCOeval
    try:
        yield
    finally:
        module.COCOeval = official


class FastCOCOeval(COCOeval):
    """A COCOeval that matches boxes and accumulates precision in C++.

    Settings, results (`eval`) and summary are pycocotools' own; what it keeps of each image
    (`evalImgs`, `ious`) stays empty. Masks and key points are left to pycocotools.
    """

    _fast: Any = None

    def evaluate(self) -> None:
        """Match the detections of every image with its objects."""
        if self.params.iouType != "bbox":
            super().evaluate()
            return
        from faster_coco_eval import COCOeval_faster

        # It prints where pycocotools prints, and accumulates at once.
        fast = COCOeval_faster(self.cocoGt, self.cocoDt, "bbox", print_function=print)
        for name in _PARAMETERS:
            setattr(fast.params, name, getattr(self.params, name))
        fast.evaluate()
        self._fast = fast

    def accumulate(self, p: Any = None) -> None:
        """Set `eval`: precision (IoU, recall, category, area, max. detections), recall and scores.

        Args:
            p: other settings than those of `evaluate`, for masks and key points only.
        """
        if self.params.iouType != "bbox":
            super().accumulate(p)
            return
        assert self._fast is not None and p is None, "call evaluate() first, with all settings"
        self._fast.accumulate()
        for name in _PARAMETERS:  # sorted, without repetition
            setattr(self.params, name, getattr(self._fast.params, name))
        arrays = {name: np.asarray(self._fast.eval[name]) for name in _RESULTS}
        self.eval = {"params": self.params, "counts": self._fast.eval["counts"], **arrays}
