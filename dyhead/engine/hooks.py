"""Hooks that the trainer adds to Detectron2's."""

import logging
import os

from dyhead.d2.engine import HookBase
from dyhead.visualization.curves import plot_curves

logger = logging.getLogger(__name__)


class CurvesHook(HookBase):
    """Draws the loss and AP curves of a run that reached its last step.

    Register it after the hook that writes metrics.json.
    """

    def __init__(self, output_dir: str) -> None:
        """Read `output_dir`/metrics.json and write `output_dir`/curves.png."""
        self._metrics = os.path.join(output_dir, "metrics.json")
        self._picture = os.path.join(output_dir, "curves.png")

    def after_train(self) -> None:
        """Draw, and log where the picture is."""
        was_completed = self.trainer.iter >= self.trainer.max_iter
        if was_completed and os.path.isfile(self._metrics):
            plot_curves(self._metrics, self._picture)
            logger.info("Picture: loss and AP curves: %s", self._picture)
