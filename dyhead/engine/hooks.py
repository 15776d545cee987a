"""Hooks that the trainer adds to Detectron2's: scores for the model cards, curves, the report."""

import logging
import os
from collections.abc import Mapping
from numbers import Real
from typing import Any

from dyhead.checkpoint.model_card import ModelCard, describe, read_card, replace_card
from dyhead.d2.engine import HookBase
from dyhead.d2.evaluation.testing import flatten_results_dict
from dyhead.errors import UserError
from dyhead.visualization.curves import plot_curves
from dyhead.visualization.optional import picture

logger = logging.getLogger(__name__)

BEST = "best/"


def training_card(trainer: Any) -> ModelCard:
    """Return the card of the detector as a trainer has it now.

    Args:
        trainer: a `Trainer`, in or after its loop, or before it.
    """
    scores: ScoresHook = trainer.scores
    steps = steps_done(trainer)
    return describe(trainer.cfg, iteration=steps, scores=scores.known_after(steps))


def card_of(path: str) -> ModelCard | None:
    """Read the card of a checkpoint; None where there is no such file, or no card to be read."""
    try:
        return read_card(path)
    except (OSError, ValueError):
        return None


def steps_done(trainer: Any) -> int:
    """Count the steps that a trainer has done, before the first, after one, or after all."""
    if not hasattr(trainer, "storage"):  # it has not begun
        return trainer.start_iter
    return min(trainer.iter + 1, trainer.max_iter)


def was_completed(trainer: Any) -> bool:
    """Tell whether a trainer has come to its end, and not to an interruption."""
    return bool(trainer.iter >= trainer.max_iter or trainer.was_stopped_early)


class ScoresHook(HookBase):
    """Writes an evaluation's scores into the card of the checkpoint of the same step.

    A checkpoint is saved before the evaluation, so that one is there if that fails. Register the
    hook after the one that evaluates, in the main process.
    """

    def __init__(self, metric: str) -> None:
        """Note scores of all categories together, and `metric` (SOLVER.BEST) if it is of one."""
        self._metric = metric
        self._seen: Any = None  # results that were noted
        self._latest: dict[str, float] = {}
        self._steps: int | None = None  # after which the latest were measured
        self._best: dict[str, float] = {}

    def known_after(self, steps: int) -> dict[str, float]:
        """Return the scores of the weights after so many steps, and the run's best."""
        return {**(self._latest if self._steps == steps else {}), **self._best}

    def before_train(self) -> None:
        """Take in a resumed run the scores from the checkpoint's card.

        The state beside it is that before the evaluation of its step.
        """
        card = card_of(self.trainer.checkpointer.last_resumable)
        if card is not None:
            self._best.update({n: v for n, v in card.scores.items() if n.startswith(BEST)})
            self._latest = {n: v for n, v in card.scores.items() if not n.startswith(BEST)}
            self._steps = card.iteration

    def after_step(self) -> None:
        """Note what was evaluated in this step."""
        self._note()

    def after_train(self) -> None:
        """Note the evaluation at the end."""
        self._note()

    def state_dict(self) -> dict[str, Any]:
        """Return the best scores, for a resumed run."""
        return {"best": self._best} if self._best else {}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Restore what `state_dict` gave."""
        self._best = dict(state_dict["best"])

    def _note(self) -> None:
        results = getattr(self.trainer, "_last_eval_results", None)  # absent before the first
        if not results or results is self._seen:
            return
        self._seen, self._steps = results, steps_done(self.trainer)
        self._latest = _overall(results, self._metric)
        for name, score in self._latest.items():
            if name.endswith("/AP"):
                self._best[BEST + name] = max(score, self._best.get(BEST + name, score))
        self._update_checkpoint()

    def _update_checkpoint(self) -> None:
        """Write the scores into the file of these steps, and into the one that a run resumes from.

        These are two where the last one is stripped.
        """
        checkpointer = self.trainer.checkpointer
        path, steps = checkpointer.last_saved
        paths = {path} if steps == self._steps else set()
        resumable = card_of(checkpointer.last_resumable)
        if resumable is not None and resumable.iteration == self._steps:
            paths.add(checkpointer.last_resumable)
        for each in filter(os.path.isfile, paths):
            replace_card(each, training_card(self.trainer))


def _overall(results: Mapping[str, Any], metric: str) -> dict[str, float]:
    """Return the scores of all categories together, such as "bbox/AP50", and that of a metric.

    NaN, for none found, is left out.
    """
    return {
        name: float(score)
        for name, score in flatten_results_dict(results).items()
        if isinstance(score, Real) and score == score and (name == metric or "/AP-" not in name)
    }


class CurvesHook(HookBase):
    """Draws the loss and AP curves of a run that reached its end.

    Register it after the hook that writes metrics.json.
    """

    def __init__(self, output_dir: str) -> None:
        """Read `output_dir`/metrics.json and write `output_dir`/curves.png."""
        self._metrics = os.path.join(output_dir, "metrics.json")
        self._picture = os.path.join(output_dir, "curves.png")

    def after_train(self) -> None:
        """Draw, and log where the picture is."""
        if was_completed(self.trainer) and os.path.isfile(self._metrics):
            with picture(self._picture, "loss and AP curves"):
                plot_curves(self._metrics, self._picture)


class ReportHook(HookBase):
    """Writes the report on a run that reached its end; what fails there is no fault of the run.

    Register it after the hooks that evaluate and that write metrics.json.
    """

    def after_train(self) -> None:
        """Write `OUTPUT_DIR/report`, and log where it is."""
        if not was_completed(self.trainer):
            return
        from dyhead.run_report.run import write_own_report  # takes a while to import

        try:
            page = write_own_report(self.trainer.cfg)
        except Exception as error:  # the run itself is whole
            reason = " ".join(str(error).split()) or type(error).__name__
            is_bug = not isinstance(error, UserError | OSError)
            logger.warning("No report on this run: %s", reason, exc_info=is_bug)
        else:
            logger.info("Report on this run: %s", page)
