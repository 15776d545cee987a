"""The evaluators that every evaluation runs: COCO's scores, and what computing them costs."""

import logging
import os
import sys
import time
from collections.abc import Sequence
from typing import Any

import torch

from dyhead.d2.config import CfgNode
from dyhead.d2.evaluation import DatasetEvaluator
from dyhead.d2.utils import comm
from dyhead.evaluation.coco_evaluation import build_coco_evaluator
from dyhead.evaluation.run_folder import inference_folder
from dyhead.safe_io.json_text import write_json

COST_NAME = "cost.json"

logger = logging.getLogger(__name__)


def build_evaluators(cfg: CfgNode, dataset_name: str) -> list[DatasetEvaluator]:
    """Build the evaluators of a data set; a further metric is one more of them.

    The `process` of each is given every batch and its detections; what the `evaluate` of each
    returns at the end, {task: {metric: value}}, goes to the log and to metrics.json.
    """
    folder = inference_folder(cfg, dataset_name)
    return [
        CostEvaluator(cfg.MODEL.DEVICE, folder),
        build_coco_evaluator(
            dataset_name,
            folder,
            fast=cfg.TEST.FAST_COCO_EVAL,
            kept=cfg.TEST.DETECTIONS_PER_IMAGE,
        ),
    ]


class CostEvaluator(DatasetEvaluator):
    """An evaluator that logs seconds per image and peak memory; it adds nothing to the results."""

    def __init__(self, device: str, folder: str | None = None) -> None:
        """Measure.

        Args:
            device: a MODEL.DEVICE string.
            folder: for cost.json; None writes nothing.
        """
        self._device = torch.device(device)
        self._folder = folder

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
        """Log and write the cost in the main process."""
        if not comm.is_main_process() or self._num_images == 0:
            return
        seconds = (self._end - self._start) / self._num_timed if self._num_timed else None
        gibibytes = _peak_memory(self._device)
        parts = [f"{self._num_images} images on {self._device.type}"]
        if seconds is not None:
            parts.append(f"{seconds:.3f} s per image (reading and scaling it included)")
        if gibibytes is not None:
            parts.append(f"peak memory {gibibytes:.2f} GiB")
        logger.info("Evaluation cost: %s", ", ".join(parts))
        if self._folder:
            self._write(seconds, gibibytes)

    def _write(self, seconds: float | None, gibibytes: float | None) -> None:
        assert self._folder is not None
        os.makedirs(self._folder, exist_ok=True)
        cost = {
            "images": self._num_images,
            "device": self._device.type,
            "seconds_per_image": seconds,
            "peak_memory_gib": gibibytes,
        }
        write_json(cost, os.path.join(self._folder, COST_NAME), indent=1)


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
