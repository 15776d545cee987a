"""Keeps the weights that an evaluation has found to be the best."""

import logging
import os
from collections.abc import Mapping
from typing import Any

from dyhead.d2.engine import HookBase
from dyhead.engine.hooks import card_of, steps_done
from dyhead.engine.orderly_end import saved_if_it_fails
from dyhead.engine.scores import COMPARISONS, NewScores

BEST_NAME = "model_best"

logger = logging.getLogger(__name__)


class BestCheckpointHook(HookBase):
    """Saves `model_best` whenever a metric is better than ever before in the run.

    The file holds weights and a model card with the scores. Nothing is resumed from it, so
    `last_checkpoint` goes its own way. Register the hook in the main process, after `ScoresHook`.

    Attributes:
        value: the best so far; None before.
        steps: after which it was measured.
    """

    def __init__(self, metric: str, mode: str = "max") -> None:
        """Compare the values of `metric` by `mode`, "max" or "min"."""
        self._metric, self._is_better = metric, COMPARISONS[mode]
        self._scores = NewScores(metric)
        self._had_another_metric = False
        self.value: float | None = None
        self.steps = 0

    def before_train(self) -> None:
        """Look in a resumed run at what `model_best` is, lest worse weights replace it.

        The run's checkpoints are saved before the evaluation of their step: that of the checkpoint
        that the run goes on from is not in it.
        """
        if not self.trainer.start_iter:
            return
        folder = self.trainer.checkpointer.save_dir
        kept = None if self._had_another_metric else _kept_score(folder, self._metric)
        # One of later steps is of weights that are gone.
        if kept and kept[1] <= self.trainer.start_iter and self._is_the_best(kept[0]):
            self.value, self.steps = kept
        self._keep_the_start()

    def _is_the_best(self, value: float) -> bool:
        return self.value is None or self._is_better(value, self.value)

    def _keep_the_start(self) -> None:
        """Save the weights that the run goes on from, if their card tells the best evaluation."""
        trainer = self.trainer
        start, card = trainer.start_iter, card_of(trainer.checkpointer.last_resumable)
        value = card.scores.get(self._metric) if card and card.iteration == start else None
        if value is None or not self._is_the_best(value):
            return
        self.value, self.steps = value, start
        trainer.iter = start - 1  # the new card counts the steps by it
        trainer.checkpointer.save(BEST_NAME)
        trainer.iter = start
        logger.info("Best %s so far: %.4f after %d steps", self._metric, value, start)

    def after_step(self) -> None:
        """Save if the evaluation of this step was the best.

        Raises:
            UserError: there is no such metric; the step is saved.
        """
        with saved_if_it_fails(self.trainer):
            self._save_if_best()

    def after_train(self) -> None:
        """Save if the evaluation at the end was the best."""
        self._save_if_best()

    def _save_if_best(self) -> None:
        value = self._scores.take(self.trainer)
        if value is None or not self._is_the_best(value):
            return
        self.value, self.steps = value, steps_done(self.trainer)
        self.trainer.checkpointer.save(BEST_NAME)
        logger.info("Best %s so far: %.4f after %d steps", self._metric, value, self.steps)

    def state_dict(self) -> dict[str, Any]:
        """Return the best value and its step, for a resumed run."""
        known = {"metric": self._metric, "value": self.value, "steps": self.steps}
        return known if self.value is not None else {}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Restore what `state_dict` gave, unless it is of another metric."""
        if state_dict["metric"] == self._metric:
            self.value, self.steps = state_dict["value"], state_dict["steps"]
        else:
            self._had_another_metric = True
            logger.warning(
                "The best checkpoint was that of %s: from here on it is that of %s.",
                state_dict["metric"],
                self._metric,
            )


def _kept_score(folder: str, metric: str) -> tuple[float, int] | None:
    """Return the value of a metric that a folder's `model_best` tells, and its steps; else None."""
    card = card_of(os.path.join(folder, f"{BEST_NAME}.pth"))
    if card is None or card.iteration is None or metric not in card.scores:
        return None
    return card.scores[metric], card.iteration
