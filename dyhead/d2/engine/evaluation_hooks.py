"""Hooks that evaluate during training, and keep the best model."""

import logging
import math
import operator
import sys
from collections.abc import Callable, Mapping
from typing import Any

from fvcore.common.checkpoint import Checkpointer

from ..evaluation.testing import flatten_results_dict
from ..utils import comm
from .trainer_base import HookBase

__all__ = ["BestCheckpointer", "EvalHook"]

logger = logging.getLogger("detectron2.engine.hooks")


def _came_to_its_end(trainer: Any) -> bool:
    """Tell whether all iterations were done: `after_train` is called after a failure too.

    Loops of other projects leave `iter` at the last iteration, where that of this host is one on.
    """
    has_failed = sys.exc_info()[0] is not None  # in the `finally` that calls `after_train`
    return bool(trainer.iter + (not has_failed) >= trainer.max_iter)


class BestCheckpointer(HookBase):
    """Saves the model whenever a metric is better than ever before in this run.

    It belongs after the hook that produces the metric.

    Args:
        eval_period: the period of that EvalHook.
        checkpointer: saves the model.
        val_metric: the metric's name, such as "bbox/AP50".
        mode: "max" if larger is better, "min" if smaller is.
        file_prefix: the checkpoint's name.
    """

    def __init__(
        self,
        eval_period: int,
        checkpointer: Checkpointer,
        val_metric: str,
        mode: str = "max",
        file_prefix: str = "model_best",
    ) -> None:
        if mode not in ("max", "min"):
            raise ValueError(f"BestCheckpointer's mode is {mode!r}: use 'max' or 'min'.")
        self._period = eval_period
        self._val_metric = val_metric
        self._is_better = operator.gt if mode == "max" else operator.lt
        self._checkpointer = checkpointer
        self._file_prefix = file_prefix
        self.best_metric: float | None = None
        self.best_iter: int | None = None

    def after_step(self) -> None:  # noqa: D102
        done = self.trainer.iter + 1
        if self._period > 0 and done % self._period == 0 and done != self.trainer.max_iter:
            self._save_if_best()

    def after_train(self) -> None:  # noqa: D102
        if _came_to_its_end(self.trainer):
            self._save_if_best()

    def _save_if_best(self) -> None:
        latest = self.trainer.storage.latest().get(self._val_metric)
        if latest is None:
            logger.warning(
                "Metric %s has not been computed: no best model to save.", self._val_metric
            )
            return
        metric, iteration = latest
        if not math.isfinite(metric) or not (
            self.best_metric is None or self._is_better(metric, self.best_metric)
        ):
            logger.info(
                "%s %.5f is not better than %s at iteration %s: best model stays.",
                self._val_metric,
                metric,
                self.best_metric,
                self.best_iter,
            )
            return
        self.best_metric, self.best_iter = metric, iteration
        self._checkpointer.save(self._file_prefix, iteration=iteration)
        logger.info(
            "Saved best model: %s %.5f at iteration %d.", self._val_metric, metric, iteration
        )


class EvalHook(HookBase):
    """Evaluates every `eval_period` iterations and at the end of training, and records the results.

    All processes need this hook, or none.

    Args:
        eval_period: 0 evaluates at the end only.
        eval_function: without arguments; returns a nested dict of numbers, or nothing.
        eval_after_train: whether to evaluate at the end.
    """

    def __init__(
        self,
        eval_period: int,
        eval_function: Callable[[], Mapping[str, Any] | None],
        eval_after_train: bool = True,
    ) -> None:
        self._period = eval_period
        self._func: Callable[[], Mapping[str, Any] | None] | None = eval_function
        self._eval_after_train = eval_after_train

    def after_step(self) -> None:  # noqa: D102
        done = self.trainer.iter + 1
        if self._period > 0 and done % self._period == 0 and done != self.trainer.max_iter:
            self._do_eval()

    def after_train(self) -> None:  # noqa: D102
        if self._eval_after_train and _came_to_its_end(self.trainer):
            self._do_eval()
        self._func = None  # a closure over the trainer would keep it alive

    def _do_eval(self) -> None:
        results = self._func()  # type: ignore[misc]
        if results:
            self.trainer.storage.put_scalars(smoothing_hint=False, **_as_numbers(results))
        comm.synchronize()  # no process trains on while another evaluates


def _as_numbers(results: Any) -> dict[str, float]:
    if not isinstance(results, Mapping):
        raise TypeError(f"An eval_function must return a dict, not {results!r}.")
    numbers: dict[str, float] = {}
    for name, value in flatten_results_dict(results).items():
        try:
            numbers[name] = float(value)
        except (TypeError, ValueError) as error:
            raise ValueError(
                f"An eval_function must return a nested dict of numbers: {name} is {value!r}."
            ) from error
    return numbers
