"""What an evaluation leaves behind besides its scores: cost, a table of AP, a picture."""

import json
import logging
import math
import os
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from tabulate import tabulate

from dyhead.d2.config import CfgNode
from dyhead.d2.data import MetadataCatalog
from dyhead.d2.evaluation import DatasetEvaluator
from dyhead.d2.safe_io.save import write_text_atomically
from dyhead.d2.utils import comm
from dyhead.visualization import draw_mosaic

logger = logging.getLogger(__name__)


class CostEvaluator(DatasetEvaluator):
    """Logs seconds per image and peak memory of an evaluation; adds nothing to its results."""

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
    """GiB: what PyTorch allocated on a GPU, or the largest size of this process so far."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**30
    try:
        import resource
    except ImportError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**30 if sys.platform == "darwin" else 2**20)


def inference_folder(cfg: CfgNode, dataset_name: str) -> str:
    """OUTPUT_DIR/inference, with a folder per data set below it where there are several."""
    folder = os.path.join(cfg.OUTPUT_DIR, "inference")
    return folder if len(cfg.DATASETS.TEST) == 1 else os.path.join(folder, dataset_name)


def leave_reports(cfg: CfgNode, results: Mapping[str, Any]) -> None:
    """Write the AP table and the mosaic of every evaluated data set, and log where they are.

    Args:
        cfg: the run's config.
        results: what `DefaultTrainer.test` returns: {task: {metric: value}}, below the data set's
            name where there are several.
    """
    names = cfg.DATASETS.TEST
    for name in names:
        scores = (results if len(names) == 1 else results.get(name, {})).get("bbox")
        if scores is not None:
            _leave_report(name, scores, inference_folder(cfg, name))


def _leave_report(dataset_name: str, scores: Mapping[str, float], folder: str) -> None:
    os.makedirs(folder, exist_ok=True)
    table_path = os.path.join(folder, "ap.md")
    table = format_ap_table(scores, MetadataCatalog.get(dataset_name).thing_classes)
    write_text_atomically(f"# {dataset_name}\n\n{table}", table_path)
    write_text_atomically(json.dumps(scores, indent=1), os.path.join(folder, "scores.json"))
    logger.info("Scores on %s:\n%s\nTable: %s", dataset_name, _overall_table(scores), table_path)
    predictions = os.path.join(folder, "coco_instances_results.json")
    if os.path.isfile(predictions):
        picture = os.path.join(folder, "predictions.png")
        draw_mosaic(dataset_name, predictions, picture)
        logger.info("Picture: predictions beside ground truth: %s", picture)


def format_ap_table(scores: Mapping[str, float], categories: Sequence[str]) -> str:
    """Return Markdown: overall COCO scores, and the AP of each category (in percent).

    Args:
        scores: COCOEvaluator's box scores; those of a category are called "AP-<category>". They
            are missing where there is one category or no prediction at all.
        categories: names.
    """
    only = scores.get("AP", math.nan) if len(categories) == 1 else math.nan
    rows = [[name, scores.get(f"AP-{name}", only)] for name in categories]
    return f"{_overall_table(scores)}\n\n{_table(['category', 'AP'], rows)}\n"


def _overall_table(scores: Mapping[str, float]) -> str:
    overall = {key: value for key, value in scores.items() if not key.startswith("AP-")}
    return _table(list(overall), [list(overall.values())])


def _table(headers: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    cells = [[_format_score(cell) if isinstance(cell, float) else cell for cell in r] for r in rows]
    return tabulate(cells, headers=headers, tablefmt="pipe", disable_numparse=True)


def _format_score(score: float) -> str:
    return "-" if math.isnan(score) else f"{score:.2f}"
