"""The evaluators that every evaluation runs: COCO's scores, and what computing them costs."""

import logging
import sys
import time
from collections.abc import Sequence
from typing import Any

import torch

from dyhead.d2.config import CfgNode
from dyhead.d2.evaluation import DatasetEvaluator
from dyhead.d2.utils import comm
from dyhead.evaluation.coco_evaluation import build_coco_evaluator
from dyhead.evaluation.reports import inference_folder

logger = logging.getLogger(__name__)


def build_evaluators(cfg: CfgNode, dataset_name: str) -> list[DatasetEvaluator]:
    """Build the evaluators of a data set; a further metric is one more of them.

    The `process` of each is given every batch and its detections; what the `evaluate` of each
    returns at the end, {task: {metric: value}}, goes to the log and to metrics.json.
    """
    folder = inference_folder(cfg, dataset_name)
    return [
        CostEvaluator(cfg.MODEL.DEVICE),
        build_coco_evaluator(
            dataset_name,
            folder,
            fast=cfg.TEST.FAST_COCO_EVAL,
            kept=cfg.TEST.DETECTIONS_PER_IMAGE,
        ),
    ]


class CostEvaluator(DatasetEvaluator):
    """An evaluator that logs seconds per image and peak memory; it adds nothing to the results."""

    def __init__(self, device: str) -> None:
        """Measure on `device`, a MODEL.DEVICE string."""
        self._device = torch.device(device)

    def reset(self) -> None:
        """Start measuring."""
        self._num_images = 0
        self._num_timed = 0
        if self._device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self._device)

    def process(self, inputs: Sequence[Any], outputs: Sequence[Any]) -> None:
        """Count a batch; the first one, which warms caches up, is not timed."""
        if self._num_images == 0:
            self._start = time.perf_counter()
        else:
            self._num_timed += len(inputs)
        self._num_images += len(inputs)
        self._end = time.perf_counter()

    def evaluate(self) -> None:
        """Log the cost in the main process."""
        if not comm.is_main_process() or self._num_images == 0:
            return
        parts = [f"{self._num_images} images on {self._device.type}"]
        if self._num_timed:
            seconds = (self._end - self._start) / self._num_timed
            parts.append(f"{seconds:.3f} s per image (reading and scaling it included)")
        if (gibibytes := _peak_memory(self._device)) is not None:
            parts.append(f"peak memory {gibibytes:.2f} GiB")
        logger.info("Evaluation cost: %s", ", ".join(parts))


def _peak_memory(device: torch.device) -> float | None:
    """Return GiB: the most that PyTorch allocated on a GPU, or the largest size of this process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**30
    try:
        import resource
    except ImportError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**30 if sys.platform == "darwin" else 2**20)
