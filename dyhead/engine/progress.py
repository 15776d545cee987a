"""The progress of a training: the owner of what changes on the way or is due now and then."""

import math

from dyhead.d2.engine import HookBase


class TrainingProgress:
    """The steps of the config that are done, of SOLVER.MAX_ITER.

    A training of a fixed length does one of them in each of its own steps. One of SOLVER.MINUTES
    does as many, or as small a part of one, as brings it to the end when its time is over: whatever
    the config gives in steps is a share of the training then.

    Attributes:
        length: all steps of the config.
        done: those that are done, from 0 to `length`; not whole numbers where a time is the length.
    """

    def __init__(self, length: int) -> None:
        """Begin a training of `length` steps."""
        self.length = length
        self.done = 0.0
        self._before = 0.0

    @property
    def share(self) -> float:
        """The part of the training that is done, in [0, 1]."""
        return self.done / self.length

    def enter(self, done: float) -> None:
        """Begin where so many steps of the config are done; nothing is due by that."""
        self.done = self._before = min(done, self.length)

    def move_to(self, done: float) -> None:
        """Note after a step that so many steps of the config are done."""
        self._before, self.done = self.done, min(done, self.length)

    def has_passed(self, period: int) -> bool:
        """Tell whether the latest step brought the training past a multiple of `period`.

        Args:
            period: in steps of the config; 0 for never.
        """
        return period > 0 and self.done // period > self._before // period

    def count_to_come(self, period: int) -> int:
        """Count the multiples of `period` that lie before the end and are not passed yet."""
        if period <= 0:
            return 0
        return max(0, math.ceil(self.length / period) - 1 - int(self.done // period))


class ProgressHook(HookBase):
    """Counts the steps of a training of a fixed length; register it as the first hook."""

    def __init__(self, progress: TrainingProgress) -> None:
        """Count in `progress`."""
        self._progress = progress

    def before_train(self) -> None:
        """Begin where a resumed run goes on."""
        self._progress.enter(self.trainer.start_iter)

    def after_step(self) -> None:
        """Count a step."""
        self._progress.move_to(self.trainer.iter + 1)
