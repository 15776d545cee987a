"""SOLVER.MINUTES: a training whose length is a time.

Its end, `max_iter`, is fitted anew after each step. What the config gives in steps (STEPS,
WARMUP_ITERS and the periods of checkpoints and evaluations) are shares of its MAX_ITER steps, and
so of the training: `TrainingProgress` moves on after each step by the part of the way that is left,
over the steps that are left. So the learning rate follows one curve without a jump from its
beginning to its end, however the machine's speed changes.
"""

import logging
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from dyhead.d2.config import CfgNode
from dyhead.d2.data import DatasetCatalog, MetadataCatalog
from dyhead.d2.engine import HookBase
from dyhead.d2.utils import comm
from dyhead.data.leaks import IMAGE_FILES
from dyhead.data.stream import TrainingBatches
from dyhead.engine.by_progress import PeriodsByProgressHook, follow_progress
from dyhead.engine.progress import TrainingProgress
from dyhead.engine.time_budget import TimeBudget
from dyhead.engine.weight_average import evaluate_within

_STEPS_OF_FIRST_REPORT, _SHARE_OF_FIRST_REPORT = 20, 0.05  # whichever comes first
_WORTH_SAYING = 0.1  # change of the number of steps
# Steps that compile or wait for the first batches seem to leave room for a few only: they would
# end the warm-up of the learning rate before the true time of a step is seen.
_LEAST_STEPS_OF_WARM_UP, _SHARE_OF_LEAST_WARM_UP = 10, 0.5  # of the time

Clock = Callable[[], float]

logger = logging.getLogger(__name__)


class TimeBudgetHook(HookBase):
    """Ends a training when its time is over, final evaluation and checkpoint included.

    Register it as the first hook, in every process: the main one's clock counts for all.
    """

    def __init__(
        self,
        cfg: CfgNode,
        progress: TrainingProgress,
        num_test_images: int,
        clock: Clock = time.monotonic,
    ) -> None:
        """Measure from the first step on.

        Args:
            cfg: the whole config.
            progress: moved on after each step.
            num_test_images: of an evaluation.
            clock: gives seconds.
        """
        solver = cfg.SOLVER
        self._budget = TimeBudget(60 * solver.MINUTES, solver.IMS_PER_BATCH, num_test_images)
        self._progress, self._clock = progress, clock
        self._eval_period, self._save_period = cfg.TEST.EVAL_PERIOD, solver.CHECKPOINT_PERIOD
        self._warm_up = solver.WARMUP_ITERS
        self._since = 0.0  # what is measured next began then
        self._evaluation: float | None = None  # seconds of the one after this step
        self._said_steps = 0
        self._has_warned = False

    def before_train(self) -> None:
        """Begin to measure, or go on."""
        self._since = self._clock()
        is_known = self._budget.step.is_known
        if self.trainer.start_iter and not is_known:
            logger.warning("The checkpoint tells no time: all of SOLVER.MINUTES begins now.")
        left = self._steps_left() if is_known else self._progress.length
        self._end_after(self.trainer.start_iter + left)

    def before_step(self) -> None:
        """Note what the checkpoint and the evaluation after the last step have taken."""
        was_saved = self._progress.has_passed(self._save_period)
        if not was_saved and self._evaluation is None:
            return  # log lines and the like count with the step
        pause = self._take_time()
        if self._evaluation is not None:
            evaluation = self._evaluation if was_saved else pause
            self._budget.add_evaluation(evaluation)
            pause -= evaluation
        if was_saved:
            self._budget.add_checkpoint(pause)
        self._evaluation = None

    def after_step(self) -> None:
        """Fit the end of the training to the rest of the time, and move the progress on."""
        self._budget.add_step(self._take_time())
        done, left = comm.all_gather(self._fit())[0]
        self._progress.move_to(done)
        self._end_after(self.trainer.iter + 1 + left)
        if left:
            self._report(left)

    def _end_after(self, num_steps: int) -> None:
        """Let the training end there, and the loader mix no more images shortly before."""
        self.trainer.max_iter = num_steps
        loader = self.trainer.data_loader
        if isinstance(loader, TrainingBatches):
            loader.plan(num_steps if self._budget.step.is_known else sys.maxsize)

    @contextmanager
    def evaluating(self) -> Iterator[None]:
        """Measure an evaluation within the context."""
        begin = self._clock()
        try:
            yield
        finally:
            self._evaluation = self._clock() - begin

    def _take_time(self) -> float:
        """Return the seconds since the last call."""
        now = self._clock()
        seconds, self._since = now - self._since, now
        return seconds

    def _fit(self) -> tuple[float, int]:
        """Return the steps of the config that are done now, and the own steps that are left."""
        progress, left = self._progress, self._steps_left()
        if not left and progress.share < 1 and self._budget.may_be_misled:
            return progress.done, 1
        if not left:
            return progress.length, 0
        if not self._budget.step.is_known:
            return progress.done, left
        rate = (progress.length - progress.done) / (left + 1)
        return progress.done + self._slow_enough_for_warm_up(rate), left

    def _slow_enough_for_warm_up(self, rate: float) -> float:
        """Limit the config's steps that one step goes on by, in the warm-up of the first half."""
        is_late = self._budget.used > _SHARE_OF_LEAST_WARM_UP * self._budget.seconds
        if is_late or self._progress.done >= self._warm_up:
            return rate
        return min(rate, max(1.0, self._warm_up / _LEAST_STEPS_OF_WARM_UP))

    def _events_to_come(self) -> tuple[int, int]:
        """Return the number of evaluations and of checkpoints, those at the end included."""
        count = self._progress.count_to_come
        return 1 + count(self._eval_period), 1 + count(self._save_period)

    def _steps_left(self) -> int:
        if self._progress.share >= 1:
            return 0
        return self._budget.steps_left(*self._events_to_come())

    def _report(self, left: int) -> None:
        """Log what the time is worth in steps, when it is known and when it changes."""
        budget, done = self._budget, self.trainer.iter + 1
        is_early = done - self.trainer.start_iter < _STEPS_OF_FIRST_REPORT
        is_early &= budget.used < _SHARE_OF_FIRST_REPORT * budget.seconds
        if is_early or not budget.step.is_reliable:
            return
        self._warn_of_evaluations()
        steps = done + left
        if abs(steps - self._said_steps) <= _WORTH_SAYING * steps:
            return
        self._said_steps = steps
        logger.info(
            "%g minutes are about %d steps of %.3g s (%d are done), with evaluations of about %.1f"
            " s (%d are to come).",
            budget.seconds / 60,
            steps,
            budget.step.seconds,
            done,
            budget.evaluation,
            self._events_to_come()[0],
        )

    def _warn_of_evaluations(self) -> None:
        if self._has_warned or not self._budget.is_overbooked(*self._events_to_come()):
            return
        self._has_warned = True
        logger.warning(
            "Evaluations of about %.0f s and checkpoints leave less than half of SOLVER.MINUTES for"
            " training, and get more time: raise TEST.EVAL_PERIOD or test on fewer images.",
            self._budget.evaluation,
        )

    def state_dict(self) -> dict[str, Any]:
        """Return what was used of the time, for a resumed run."""
        return {**self._budget.state_dict(), "share": self._progress.share}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on with the rest of the time; with another time the share done is another one too."""
        self._budget.load_state_dict(state)
        share = state["share"] * state["seconds"] / self._budget.seconds
        self._progress.enter(share * self._progress.length)
        self._end_after(self.trainer.iter + 1 + self._steps_left())


def build_budget_hooks(
    cfg: CfgNode,
    built: list[Any],
    schedule: Any,
    progress: TrainingProgress,
    clock: Clock = time.monotonic,
) -> list[HookBase]:
    """Build the hooks that fit a training into SOLVER.MINUTES, to be registered as the first.

    Args:
        cfg: the whole config.
        built: the trainer's other hooks; those that evaluate and save are steered.
        schedule: of the learning rate; changed in place.
        progress: of the training.
        clock: gives seconds.

    Raises:
        UserError: the schedule is one of the user's own.
    """
    follow_progress(schedule, progress)
    num_test_images = sum(map(_count_images, cfg.DATASETS.TEST))
    budget = TimeBudgetHook(cfg, progress, num_test_images, clock)
    evaluate_within(built, budget.evaluating)
    return [budget, PeriodsByProgressHook(built, cfg, progress)]


def _count_images(name: str) -> int:
    """Count the images of a data set, which a run that begins has loaded for its checks."""
    files = MetadataCatalog.get(name).get(IMAGE_FILES)
    return len(DatasetCatalog.get(name) if files is None else files)


def check_time_used(cfg: CfgNode, state: Mapping[str, Any]) -> None:
    """Refuse to go on with a run that has used more than the time that it is to have now.

    Args:
        cfg: the whole config, with SOLVER.MINUTES.
        state: of the trainer.

    Raises:
        ValueError: it has.
    """
    time_state = state.get("hooks", {}).get(TimeBudgetHook.__qualname__)
    if time_state is None:
        return
    used, seconds = time_state["trained"] + time_state["paused"], 60 * cfg.SOLVER.MINUTES
    if used > seconds and time_state["seconds"] > seconds:  # else its evaluations took longer
        raise ValueError(
            f"it has trained {used / 60:.1f} minutes, and SOLVER.MINUTES is {cfg.SOLVER.MINUTES:g}"
        )
