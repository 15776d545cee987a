"""Lets the host's parts that count steps go by the progress of a training whose end moves."""

import sys
from collections.abc import Callable
from typing import Any

from fvcore.common.param_scheduler import ParamScheduler

from dyhead.d2.config import CfgNode
from dyhead.d2.engine import HookBase, hooks
from dyhead.d2.solver import LRMultiplier
from dyhead.d2.utils.events import CommonMetricPrinter
from dyhead.engine.progress import TrainingProgress
from dyhead.errors import UserError


class PeriodsByProgressHook(HookBase):
    """Lets the host's checkpoints and evaluations come at shares of a training.

    The host counts own steps by `period`: this makes each period 1 where one is due, else endless.
    Register it right after the hook that moves the progress on.
    """

    def __init__(self, built: list[Any], cfg: CfgNode, progress: TrainingProgress) -> None:
        """Steer those of the hooks `built` that save and evaluate."""
        self._progress = progress
        self._saving = [hook for hook in built if isinstance(hook, hooks.PeriodicCheckpointer)]
        self._evaluating = [hook for hook in built if isinstance(hook, hooks.EvalHook)]
        self._save_period, self._eval_period = cfg.SOLVER.CHECKPOINT_PERIOD, cfg.TEST.EVAL_PERIOD

    def after_step(self) -> None:
        """Tell the hooks what is due after this step."""
        for saver in self._saving:
            saver.period = self._period(self._save_period)
            saver.max_iter = self.trainer.max_iter
        for evaluator in self._evaluating:
            evaluator._period = self._period(self._eval_period)

    def _period(self, period: int) -> int:
        return 1 if self._progress.has_passed(period) else sys.maxsize


class ScheduleByProgress(ParamScheduler):
    """A schedule at the share of the training that is done, whatever step it is asked for."""

    def __init__(self, schedule: ParamScheduler, progress: TrainingProgress) -> None:
        """Let `schedule`, from [0, 1] to factors of the learning rate, follow `progress`."""
        self._schedule, self._progress = schedule, progress

    def __call__(self, where: float) -> float:
        """Return the factor of the learning rate."""
        return self._schedule(self._progress.share)


class PrinterByProgress(CommonMetricPrinter):
    """Logs with the time that is left until an end that moves."""

    def __init__(self, find_end: Callable[[], int]) -> None:
        """Ask for the number of all steps before each line."""
        super().__init__(find_end())
        self._find_end = find_end

    def write(self) -> None:
        """Log one line."""
        self._max_iter = self._find_end()
        super().write()


def follow_progress(schedule: Any, progress: TrainingProgress) -> None:
    """Let a learning-rate schedule go by the share of the training, and not by steps.

    Raises:
        UserError: it is one of the user's own.
    """
    if not isinstance(schedule, LRMultiplier):
        raise UserError(
            f"SOLVER.MINUTES stretches the schedules of SOLVER.LR_SCHEDULER_NAME, and no"
            f" {type(schedule).__name__}: set it to 0 and SOLVER.MAX_ITER to a number of steps."
        )
    schedule._multiplier = ScheduleByProgress(schedule._multiplier, progress)
