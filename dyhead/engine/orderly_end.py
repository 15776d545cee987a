"""The end of a training that was stopped, killed or failed: what is done is saved, and said."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from dyhead.d2.evaluation import verify_results
from dyhead.d2.utils import comm
from dyhead.engine.hooks import steps_done
from dyhead.engine.stops import Stopped, StopRequested, StopSignals, exit_status, name_of

logger = logging.getLogger("dyhead.engine.trainer")


def save_and_end(trainer: Any, stop: StopRequested) -> Stopped:
    """Save the step that a trainer has just finished, unless it is saved; return the exit."""
    if stop.is_agreed:
        trainer.run_state.gather(trainer.iter)
    if comm.is_main_process() and _has_to_be_saved(trainer):
        trainer.checkpointer.save(f"model_{trainer.iter:07d}", iteration=trainer.iter)
    if stop.is_agreed:
        comm.synchronize()  # nobody is seen to end before the checkpoint is there
    return _end(trainer, stop.number)


@contextmanager
def saved_if_it_fails(trainer: Any) -> Iterator[None]:
    """Save the step that a trainer has finished, unless it is saved, if what follows it fails.

    An evaluation may meet a damaged picture or too little memory long after the last checkpoint.
    """
    try:
        yield
    except Exception:
        if comm.is_main_process() and _has_to_be_saved(trainer):
            name = f"model_{trainer.iter:07d}"
            trainer.checkpointer.save(name, iteration=trainer.iter)
            logger.info("Step %d is saved as %s; --resume goes on.", trainer.iter + 1, name)
        raise


def save_missing_end(trainer: Any) -> None:
    """Save `model_final` where a kill between the last step and that file has left it out.

    All processes call this when they have resumed, before the loop, which has no step left then.
    """
    last = os.path.basename(trainer.checkpointer.last_resumable or "")
    if trainer.start_iter != trainer.max_iter or last in ("", "model_final.pth"):
        return
    trainer.run_state.gather(trainer.iter)
    if comm.is_main_process():
        trainer.checkpointer.save("model_final", iteration=trainer.iter)


def save_early_end(trainer: Any) -> Any:
    """Save a run that stopped early as one that came to its end; return its last results.

    A resumed run that stops before its first step gets `model_final` as well, if a kill has left
    it out.
    """
    last = os.path.basename(trainer.checkpointer.last_resumable or "")
    is_before_a_step = trainer.was_stopped_early and trainer.finished_step < trainer.start_iter
    if is_before_a_step and last not in ("", "model_final.pth"):
        trainer.iter = trainer.finished_step
        trainer.run_state.gather(trainer.iter)
    if trainer.finished_step == trainer.iter and comm.is_main_process():
        trainer.checkpointer.save("model_final", iteration=trainer.iter)
    results = getattr(trainer, "_last_eval_results", None)
    if results and trainer.cfg.TEST.EXPECTED_RESULTS and comm.is_main_process():
        verify_results(trainer.cfg, results)
    return results


def end_after_failure(trainer: Any, error: Exception) -> Stopped | None:
    """Return the exit of a step that failed because of a signal; None where there was none.

    A signal to all processes of a run also kills loader workers.
    """
    signals = StopSignals.current
    if signals is None or signals.requested is None:
        return None
    logger.warning("Step %d was not finished: %s", trainer.finished_step + 2, error)
    return _end(trainer, signals.requested)


def _has_to_be_saved(trainer: Any) -> bool:
    """Tell whether the last step is finished, is not the run's last, and is not saved yet."""
    checkpointer = trainer.checkpointer
    last = checkpointer.last_resumable, steps_done(trainer)
    return trainer.finished_step == trainer.iter and checkpointer.last_saved != last


def _end(trainer: Any, number: int) -> Stopped:
    logger.info(
        "Stopped by %s at step %d, saved %s; --resume goes on.",
        name_of(number),
        trainer.finished_step + 1,
        trainer.checkpointer.last_resumable or "nothing yet",
    )
    return Stopped(exit_status(number))
