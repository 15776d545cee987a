"""A COCOeval by faster-coco-eval, where that is installed (`pip install dyhead[fast]`).

pycocotools matches detections and objects in Python, which takes minutes on COCO's validation set;
faster-coco-eval does the same in C++. The scores are the same.
"""

import importlib.util
from typing import Any

import numpy as np
from pycocotools.cocoeval import COCOeval

PACKAGE = "faster-coco-eval"
_PARAMETERS = (
    *("imgIds", "catIds", "useCats", "iouThrs", "recThrs"),
    *("maxDets", "areaRng", "areaRngLbl"),
)
_RESULTS = ("precision", "recall", "scores")


def is_installed() -> bool:
    """Tell if faster-coco-eval is installed; a broken installation fails when it is used."""
    return importlib.util.find_spec("faster_coco_eval") is not None


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
