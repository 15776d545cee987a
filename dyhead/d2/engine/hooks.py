"""Hooks of the training loop: timing, schedules, evaluation, checkpoints, writing events."""

import datetime
import logging
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from fvcore.common.checkpoint import PeriodicCheckpointer as _PeriodicCheckpointer
from fvcore.common.param_scheduler import ParamScheduler
from fvcore.common.timer import Timer
from torch.optim import Optimizer

from ..solver import LRMultiplier
from ..solver import LRScheduler as _TorchLRScheduler
from ..utils.events import EventWriter
from .evaluation_hooks import BestCheckpointer, EvalHook
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
        optimizer = self._optimizer or self.trainer.optimizer
        schedule, trainer = self.scheduler, self.trainer
        if isinstance(schedule, ParamScheduler):
            self._scheduler = LRMultiplier(
                optimizer, schedule, trainer.max_iter, last_iter=trainer.iter - 1
            )
        self._optimizer = optimizer
        self._shown_group = self.get_best_param_group_id(optimizer)

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
        lr = self._optimizer.param_groups[self._shown_group]["lr"]  # type: ignore[union-attr]
        self.trainer.storage.put_scalar("lr", lr, smoothing_hint=False)
        self.scheduler.step()

    def state_dict(self) -> dict[str, Any]:  # noqa: D102
        if isinstance(self.scheduler, _TorchLRScheduler):
            return self.scheduler.state_dict()
        return {}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Restore the schedule's progress."""
        if isinstance(self.scheduler, _TorchLRScheduler):
            self.scheduler.load_state_dict(dict(state_dict))
