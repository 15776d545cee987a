"""A bar on the terminal that shows how far the training is."""

import logging
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from dyhead.d2.engine import HookBase

_LINES = "detectron2.utils.events"  # which the bar stands for, on the terminal
_LAYOUT = "{l_bar}{bar}| {n_fmt}/{total_fmt} [{elapsed}<{remaining}{postfix}]"


class ProgressBarHook(HookBase):
    """Shows steps, loss, images per second and the time that is left.

    The lines of the log that say the same go to log.txt alone, and all others stand above the bar.
    Register it in the main process, as the last hook but for those that end the run.
    """

    def __init__(self, images_per_step: int) -> None:
        """Count images by the step."""
        self._images = images_per_step
        self._bar: Any = None
        self._undo = ExitStack()

    @staticmethod
    def is_useful() -> bool:
        """Tell whether somebody watches."""
        return sys.stderr.isatty() and sys.stdout.isatty()

    def before_train(self) -> None:
        """Show the bar; with TQDM_DISABLE=1 in the environment the lines stay instead."""
        trainer = self.trainer
        self._bar = tqdm(
            total=trainer.max_iter,
            initial=trainer.start_iter,
            desc="Training",
            bar_format=_LAYOUT,
            dynamic_ncols=True,
        )
        if self._bar.disable:
            return
        loggers = [logging.getLogger(name) for name in ("", "detectron2", "dyhead", "fvcore")]
        self._undo.enter_context(_lines_above_the_bar([log for log in loggers if log.handlers]))

    def after_step(self) -> None:
        """Move on by a step."""
        latest = self.trainer.storage.latest()
        parts = [f"loss {latest['total_loss'][0]:.4g}"] if "total_loss" in latest else []
        if "time" in latest and latest["time"][0] > 0:
            parts.append(f"{self._images / latest['time'][0]:.1f} images/s")
        self._bar.total = self.trainer.max_iter  # which SOLVER.MINUTES moves
        self._bar.set_postfix_str(", ".join(parts), refresh=False)
        self._bar.update()

    def after_train(self) -> None:
        """Leave the bar as it is, and the log to the terminal."""
        self._undo.close()
        if self._bar is not None:
            self._bar.close()


@contextmanager
def _lines_above_the_bar(loggers: list[logging.Logger]) -> Iterator[None]:
    """Let log lines stand above the bar, without those that it stands for."""
    with logging_redirect_tqdm(loggers):
        for handler in (handler for logger in loggers for handler in logger.handlers):
            # what takes the console's place for a while takes neither its level nor filters over
            if isinstance(handler, logging.StreamHandler) and hasattr(handler, "tqdm_class"):
                handler.setLevel(logging.INFO)
                handler.addFilter(_is_no_line)
        yield


def _is_no_line(record: logging.LogRecord) -> bool:
    return record.name != _LINES
