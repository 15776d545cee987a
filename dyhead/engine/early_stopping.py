"""Stops a training that does not get better any more."""

import logging
from collections.abc import Mapping
from typing import Any

from dyhead.d2.engine import HookBase
from dyhead.d2.utils import comm
from dyhead.engine.hooks import card_of
from dyhead.engine.scores import COMPARISONS, NewScores

logger = logging.getLogger("dyhead.engine.trainer")


class StoppedEarly(BaseException):
    """Ends the training loop of all processes, in good order; no `except Exception` holds it up."""


class EarlyStoppingHook(HookBase):
    """Stops after some evaluations in a row in which a metric was not better than before.

    Register it as the last one, in every process: only the main one knows the results.
    """

    def __init__(
        self, metric: str, mode: str, patience: int, min_delta: float, eval_period: int
    ) -> None:
        """Wait for a better value.

        Args:
            metric: such as "bbox/AP".
            mode: "max" or "min": which values are better.
            patience: evaluations, at least 1.
            min_delta: by how much a value has to be better, in its unit.
            eval_period: steps between evaluations.
        """
        self._metric, self._is_better = metric, COMPARISONS[mode]
        self._margin = min_delta if mode == "max" else -min_delta
        self._patience, self._period = patience, eval_period
        self._scores = NewScores(metric)
        self._best: float | None = None
        self._waited = 0
        self._steps = 0  # after which the latest value was measured

    def before_train(self) -> None:
        """End a resumed run at once that was stopped early before.

        The state is that before the evaluation of the checkpoint's step: its card has the scores.

        Raises:
            StoppedEarly: its patience is used up.
        """
        start = self.trainer.start_iter
        if start >= self.trainer.max_iter:  # it came to its end
            return
        card = card_of(self.trainer.checkpointer.last_resumable) if comm.is_main_process() else None
        scores = card.scores if card and card.iteration == start > self._steps else {}
        if self._metric in scores:
            self._note(scores[self._metric], start)
        self._stop_if_needed(start)

    def after_step(self) -> None:
        """Look at the evaluation of this step, if there was one.

        Raises:
            StoppedEarly: it was the last one to wait for.
        """
        is_last = self.trainer.iter + 1 >= self.trainer.max_iter
        if is_last or not self.trainer.progress.has_passed(self._period):
            return
        value = self._scores.take(self.trainer) if comm.is_main_process() else None
        if value is not None:
            self._note(value, self.trainer.iter + 1)
        self._stop_if_needed(self.trainer.iter + 1)

    def _note(self, value: float, steps: int) -> None:
        self._steps = steps
        if self._best is None or self._is_better(value, self._best + self._margin):
            self._best, self._waited = value, 0
        else:
            self._waited += 1

    def _stop_if_needed(self, steps: int) -> None:
        if comm.all_gather(self._waited)[0] < self._patience:
            return
        logger.info(
            "Stopped early after %d steps: %s was not better than %.4f in %d evaluations"
            " (SOLVER.BEST.PATIENCE).",
            steps,
            self._metric,
            self._best or 0.0,
            self._waited,
        )
        self.trainer.was_stopped_early = True
        raise StoppedEarly

    def state_dict(self) -> dict[str, Any]:
        """Return the best value and the evaluations since then, for a resumed run."""
        if self._best is None:
            return {}
        known = {"metric": self._metric, "best": self._best}
        return {**known, "waited": self._waited, "steps": self._steps}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Restore what `state_dict` gave; another metric is waited for anew."""
        if state_dict["metric"] == self._metric:
            self._best, self._waited = state_dict["best"], state_dict["waited"]
            self._steps = state_dict.get("steps", 0)  # an older version did not save it
