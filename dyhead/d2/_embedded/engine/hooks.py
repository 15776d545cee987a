"""Hooks of the training loop: timing, schedules, evaluation, checkpoints, writing events."""

import datetime
import logging
import math
import operator
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from fvcore.common.checkpoint import Checkpointer
from fvcore.common.checkpoint import PeriodicCheckpointer as _PeriodicCheckpointer
from fvcore.common.param_scheduler import ParamScheduler
from fvcore.common.timer import Timer
from torch.optim import Optimizer

from ..evaluation.testing import flatten_results_dict
from ..solver import LRMultiplier
from ..solver import LRScheduler as _TorchLRScheduler
from ..utils import comm
from ..utils.events import EventWriter
from .train_loop import HookBase

__all__ = [
    "BestCheckpointer",
    "CallbackHook",
    "EvalHook",
    "IterationTimer",
    "LRScheduler",
    "PeriodicCheckpointer",
    "PeriodicWriter",
]

logger = logging.getLogger("detectron2.engine.hooks")

Callback = Callable[[Any], Any]


class CallbackHook(HookBase):
    """Calls the functions given, each with the trainer."""

    def __init__(
        self,
        *,
        before_train: Callback | None = None,
        after_train: Callback | None = None,
        before_step: Callback | None = None,
        after_step: Callback | None = None,
    ) -> None:
        self._before_train = before_train
        self._after_train = after_train
        self._before_step = before_step
        self._after_step = after_step

    def before_train(self) -> None:  # noqa: D102
        self._call(self._before_train)

    def after_train(self) -> None:  # noqa: D102
        self._call(self._after_train)
        # Closures over the trainer would keep it alive.
        self._before_train = self._after_train = self._before_step = self._after_step = None

    def before_step(self) -> None:  # noqa: D102
        self._call(self._before_step)

    def after_step(self) -> None:  # noqa: D102
        self._call(self._after_step)

    def _call(self, callback: Callback | None) -> None:
        if callback is not None:
            callback(self.trainer)


class IterationTimer(HookBase):
    """Records each iteration's seconds as "time"; logs totals at the end.

    It belongs first in the list of hooks, so that the others' `after_step` is not counted.

    Args:
        warmup_iter: this many iterations at the start are not counted.
    """

    def __init__(self, warmup_iter: int = 3) -> None:
        self._warmup_iter = warmup_iter
        self._step_timer = Timer()
        self._total_timer = Timer()
        self._start_time = time.perf_counter()

    def before_train(self) -> None:  # noqa: D102
        self._start_time = time.perf_counter()
        self._total_timer.reset()
        self._total_timer.pause()

    def before_step(self) -> None:  # noqa: D102
        self._step_timer.reset()
        self._total_timer.resume()

    def after_step(self) -> None:  # noqa: D102
        storage = self.trainer.storage
        if storage.iter - self.trainer.start_iter + 1 >= self._warmup_iter:
            storage.put_scalars(time=self._step_timer.seconds())
        else:
            self._start_time = time.perf_counter()
            self._total_timer.reset()
        self._total_timer.pause()

    def after_train(self) -> None:  # noqa: D102
        total = time.perf_counter() - self._start_time
        in_steps = self._total_timer.seconds()
        done = self.trainer.storage.iter + 1 - self.trainer.start_iter - self._warmup_iter
        if done > 0 and in_steps > 0:
            logger.info(
                "Overall training speed: %d iterations in %s (%.4f s / it)",
                done,
                _hours(in_steps),
                in_steps / done,
            )
        logger.info(
            "Total training time: %s (%s on hooks)", _hours(total), _hours(total - in_steps)
        )


def _hours(seconds: float) -> str:
    return str(datetime.timedelta(seconds=int(seconds)))


class PeriodicWriter(HookBase):
    """Lets writers write every `period` iterations and after the last one."""

    def __init__(self, writers: Sequence[EventWriter], period: int = 20) -> None:
        for writer in writers:
            if not isinstance(writer, EventWriter):
                raise TypeError(f"{writer!r} is no EventWriter.")
        self._writers = writers
        self._period = period

    def after_step(self) -> None:  # noqa: D102
        is_last = self.trainer.iter == self.trainer.max_iter - 1
        if is_last or (self.trainer.iter + 1) % self._period == 0:
            for writer in self._writers:
                writer.write()

    def after_train(self) -> None:  # noqa: D102
        for writer in self._writers:
            writer.write()  # what other hooks recorded after the last iteration
            writer.close()


class PeriodicCheckpointer(_PeriodicCheckpointer, HookBase):
    """Saves a checkpoint every `period` iterations and `<file_prefix>_final` after the last one."""

    def before_train(self) -> None:  # noqa: D102
        self.max_iter = self.trainer.max_iter

    def after_step(self) -> None:  # noqa: D102
        self.step(self.trainer.iter)


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
        if self.trainer.iter + 1 >= self.trainer.max_iter:
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


class LRScheduler(HookBase):
    """Steps a learning rate schedule after every iteration and records "lr".

    Args:
        optimizer: None takes the trainer's.
        scheduler: a PyTorch scheduler, or an fvcore one, which multiplies the optimizer's learning
            rates; None takes the trainer's.
    """

    def __init__(
        self,
        optimizer: Optimizer | None = None,
        scheduler: _TorchLRScheduler | ParamScheduler | None = None,
    ) -> None:
        self._optimizer = optimizer
        self._scheduler = scheduler

    @property
    def scheduler(self) -> Any:
        """The schedule in use."""
        return self._scheduler or self.trainer.scheduler

    def before_train(self) -> None:  # noqa: D102
        self._optimizer = self._optimizer or self.trainer.optimizer
        if isinstance(self.scheduler, ParamScheduler):
            self._scheduler = LRMultiplier(
                self._optimizer,
                self.scheduler,
                self.trainer.max_iter,
                last_iter=self.trainer.iter - 1,
            )
        self._best_param_group_id = self.get_best_param_group_id(self._optimizer)

    @staticmethod
    def get_best_param_group_id(optimizer: Optimizer) -> int:
        """The index of the group whose learning rate stands for the model: the largest one.

        Where each group holds one parameter, the first with the most frequent learning rate.
        """
        sizes = [len(group["params"]) for group in optimizer.param_groups]
        if max(sizes) > 1:
            return sizes.index(max(sizes))
        rates = [group["lr"] for group in optimizer.param_groups]
        return rates.index(Counter(rates).most_common(1)[0][0])

    def after_step(self) -> None:  # noqa: D102
        lr = self._optimizer.param_groups[self._best_param_group_id]["lr"]  # type: ignore[union-attr]
        self.trainer.storage.put_scalar("lr", lr, smoothing_hint=False)
        self.scheduler.step()

    def state_dict(self) -> dict[str, Any]:  # noqa: D102
        if isinstance(self.scheduler, _TorchLRScheduler):
            return self.scheduler.state_dict()
        return {}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Restore the schedule's progress."""
        if isinstance(self.scheduler, _TorchLRScheduler):
            logger.info("Loading scheduler from state_dict ...")
            self.scheduler.load_state_dict(dict(state_dict))


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
        # A run that failed before its last iteration is not evaluated.
        if self._eval_after_train and self.trainer.iter + 1 >= self.trainer.max_iter:
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
