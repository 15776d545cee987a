"""Printing, checking and flattening the results of an evaluation."""

import logging
import math
import pprint
import sys
from collections.abc import Mapping
from typing import Any

from ..config import CfgNode

logger = logging.getLogger("detectron2.evaluation.testing")


def print_csv_format(results: Mapping[str, Any]) -> None:
    """Log the main metrics of each task as lines to paste into a spreadsheet.

    Args:
        results: task -> {metric: score}. Metrics of single categories are left out.
    """
    for task, scores in results.items():
        if not isinstance(scores, Mapping):
            logger.info("copypaste: %s=%s", task, scores)
            continue
        main = {metric: score for metric, score in scores.items() if "-" not in metric}
        logger.info("copypaste: Task: %s", task)
        logger.info("copypaste: %s", ",".join(main))
        logger.info("copypaste: %s", ",".join(f"{score:.4f}" for score in main.values()))


def verify_results(cfg: CfgNode, results: Mapping[str, Mapping[str, float]]) -> bool:
    """Compare with TEST.EXPECTED_RESULTS, a list of [task, metric, score, tolerance].

    Returns:
        True. Where a score is missing, not finite or too far off, the program exits with status 1.
    """
    expected = cfg.TEST.EXPECTED_RESULTS
    if not len(expected):
        return True
    for task, metric, score, tolerance in expected:
        actual = results.get(task, {}).get(metric, math.nan)
        if not abs(actual - score) <= tolerance:  # also where actual is NaN
            logger.error(
                "%s %s is %s, not %s +- %s as TEST.EXPECTED_RESULTS asks. All results:\n%s",
                *(task, metric, actual, score, tolerance),
                pprint.pformat(results),
            )
            sys.exit(1)
    logger.info("All results are as TEST.EXPECTED_RESULTS asks.")
    return True


def flatten_results_dict(results: Mapping[str, Any]) -> dict[str, Any]:
    """Nested results as one level: {"bbox": {"AP": 1}} becomes {"bbox/AP": 1}."""
    flat: dict[str, Any] = {}
    for name, value in results.items():
        if isinstance(value, Mapping):
            inner = flatten_results_dict(value)
            flat.update({f"{name}/{inner_name}": v for inner_name, v in inner.items()})
        else:
            flat[name] = value
    return flat
