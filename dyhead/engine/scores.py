"""The number that decides which weights are the best, found in an evaluation's results."""

import logging
import math
import operator
from collections.abc import Callable, Mapping
from numbers import Real  # NumPy's scalars are of it too
from typing import Any

from dyhead.d2.config import CfgNode
from dyhead.d2.evaluation.testing import flatten_results_dict
from dyhead.errors import UserError

Comparison = Callable[[float, float], bool]

COMPARISONS: dict[str, Comparison] = {"max": operator.gt, "min": operator.lt}

logger = logging.getLogger(__name__)


def check_best(cfg: CfgNode) -> None:
    """Refuse settings of SOLVER.BEST that could have no effect.

    Raises:
        UserError: they contradict each other.
    """
    best = cfg.SOLVER.BEST
    if best.METRIC and not cfg.DATASETS.TEST:
        raise UserError(
            f"SOLVER.BEST.METRIC {best.METRIC!r} is a result of evaluations, and DATASETS.TEST is"
            " empty: name a data set there, or leave the metric empty."
        )
    if best.PATIENCE and not (best.METRIC and cfg.TEST.EVAL_PERIOD > 0):
        raise UserError(
            "SOLVER.BEST.PATIENCE counts evaluations: set SOLVER.BEST.METRIC, such as bbox/AP, and"
            " TEST.EVAL_PERIOD."
        )


def warn_of_idle_patience(cfg: CfgNode) -> None:
    """Say where the training has too few evaluations for SOLVER.BEST.PATIENCE to stop it.

    Args:
        cfg: with SOLVER.MAX_ITER as it will be.
    """
    patience, period = cfg.SOLVER.BEST.PATIENCE, cfg.TEST.EVAL_PERIOD
    count = (cfg.SOLVER.MAX_ITER - 1) // period if period > 0 else 0  # before the end
    if patience and count <= patience:  # the first one is the best so far
        logger.warning(
            "SOLVER.BEST.PATIENCE %d cannot stop this training, which has %d evaluations before its"
            " end: lower TEST.EVAL_PERIOD %d or PATIENCE, or train longer.",
            patience,
            count,
            period,
        )


class NewScores:
    """Gives the value of a metric once for each evaluation of a trainer."""

    def __init__(self, metric: str) -> None:
        """Look for `metric`, such as "bbox/AP"."""
        self._metric = metric
        self._seen: Any = None

    def take(self, trainer: Any) -> float | None:
        """Return the value of the evaluation since the last call; None where there was none.

        NaN counts as none: COCO has it for areas of which no object is there.

        Raises:
            UserError: the evaluation gives no such metric.
        """
        results = getattr(trainer, "_last_eval_results", None)  # absent before the first
        if not results or results is self._seen:
            return None
        self._seen = results
        value = _numbers(results).get(self._metric)
        if value is None:
            raise UserError(
                f"SOLVER.BEST.METRIC {self._metric!r} is no result of the evaluation: use one of"
                f" {', '.join(_numbers(results))}."
            )
        if not math.isfinite(value):
            logger.warning("%s is not a number in this evaluation and is left out.", self._metric)
            return None
        return value


def _numbers(results: Mapping[str, Any]) -> dict[str, float]:
    found = flatten_results_dict(results).items()
    return {name: float(value) for name, value in found if isinstance(value, Real)}
