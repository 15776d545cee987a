"""Reports that an evaluation leaves in its folder: scores, a table of AP, a picture."""

import logging
import math
import os
from collections.abc import Mapping, Sequence
from typing import Any

from tabulate import tabulate

from dyhead.d2.config import CfgNode
from dyhead.d2.data import MetadataCatalog
from dyhead.evaluation.coco_evaluation import IMAGES, OF
from dyhead.evaluation.original_ids import RESULTS_NAME
from dyhead.evaluation.run_folder import inference_folder
from dyhead.safe_io.json_text import write_json
from dyhead.safe_io.save import write_text_atomically
from dyhead.visualization.mosaic import draw_mosaic
from dyhead.visualization.optional import picture

logger = logging.getLogger(__name__)


def write_reports(cfg: CfgNode, results: Mapping[str, Any]) -> None:
    """Write scores, AP table and mosaic of every evaluated data set, and log where they are.

    Args:
        cfg: the run's config.
        results: {task: {metric: value}}, below the data set's name where there are several, as
            `DefaultTrainer.test` returns them.
    """
    names = cfg.DATASETS.TEST
    for name in names:
        scores = (results if len(names) == 1 else results.get(name, {})).get("bbox")
        if scores is not None:
            _write_report(name, scores, inference_folder(cfg, name))


def _write_report(dataset_name: str, scores: Mapping[str, float], folder: str) -> None:
    os.makedirs(folder, exist_ok=True)
    table_path = os.path.join(folder, "ap.md")
    table = format_ap_table(scores, MetadataCatalog.get(dataset_name).thing_classes)
    write_text_atomically(f"# {dataset_name}\n\n{table}", table_path)
    write_json(scores, os.path.join(folder, "scores.json"), indent=1)
    if "AP" in scores:  # else the evaluator has said that there is nothing to score
        summary = f"{_overall_table(scores)}\n{describe_coverage(scores)}".strip()
        logger.info("Scores on %s:\n%s\nTable: %s", dataset_name, summary, table_path)
    predictions = os.path.join(folder, RESULTS_NAME)
    if os.path.isfile(predictions):
        path = os.path.join(folder, "predictions.png")
        with picture(path, "predictions beside ground truth"):
            draw_mosaic(dataset_name, predictions, path)


def format_ap_table(scores: Mapping[str, float], categories: Sequence[str]) -> str:
    """Format the overall COCO scores and the AP of each category, in percent, as Markdown.

    Args:
        scores: of boxes, as `COCOBoxEvaluator` gives them. A category's is called
            "AP-<category>"; it is missing where there is one category.
        categories: names.
    """
    only = scores.get("AP", math.nan) if len(categories) == 1 else math.nan
    rows = [[name, scores.get(f"AP-{name}", only)] for name in categories]
    by_category = _table(["category", "AP"], rows) if "AP" in scores else ""
    parts = (_overall_table(scores), describe_coverage(scores), by_category)
    return "\n\n".join(part for part in parts if part) + "\n"


def describe_coverage(scores: Mapping[str, float]) -> str:
    """Say over how many of the data set's images the AP is, where that is not all; else ""."""
    if IMAGES not in scores:
        return ""
    if "AP" not in scores:
        return f"Nothing to score: {scores[IMAGES]:.0f} images without an object that counts."
    counted, named = scores[IMAGES], scores[OF]
    return f"Over {counted:.0f} of {named:.0f} images: the others were left out; the log says why."


def _overall_table(scores: Mapping[str, float]) -> str:
    overall = {
        name: score
        for name, score in scores.items()
        if not name.startswith("AP-") and name not in (IMAGES, OF)
    }
    return _table(list(overall), [list(overall.values())]) if overall else ""


def _table(headers: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    cells = [[_format_score(cell) if isinstance(cell, float) else cell for cell in r] for r in rows]
    return tabulate(cells, headers=headers, tablefmt="pipe", disable_numparse=True)


def _format_score(score: float) -> str:
    return "-" if math.isnan(score) else f"{score:.2f}"
