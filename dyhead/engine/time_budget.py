"""The time of a training: what it went to, and how many steps the rest has room for."""

import statistics
from collections import deque
from collections.abc import Mapping
from typing import Any

_WINDOW = 100  # steps
_GROUPS = 5
_LEAST_STEPS = 3  # whose median one of them cannot move far
_LEAST_SHARE_OF_STEPS = 0.5
# Seconds of an image in an evaluation over those in a training step, until one was measured: a step
# computes forward and about twice as much backward, an evaluation adds reading, NMS and the scores.
_EVALUATION_OF_STEP = 0.5


class StepTime:
    """The seconds of a step, by the latest ones: the median of the means of five groups of them.

    A mean would take a single long step for a slower machine. A median would overlook that loader
    workers give several batches at once and then let one step wait for them all. The first step, in
    which workers and kernels start, counts only until there is another one.
    """

    def __init__(self) -> None:
        self._first: float | None = None
        self._seconds: deque[float] = deque(maxlen=_WINDOW)

    def add(self, seconds: float) -> None:
        """Take in a step, its waiting for data included."""
        if self._first is None:
            self._first = seconds
        else:
            self._seconds.append(seconds)

    def begin_with(self, seconds: float) -> None:
        """Begin with what an earlier run has found; as many own steps outweigh it."""
        self._seconds.extend([seconds] * _GROUPS)

    @property
    def is_known(self) -> bool:
        """Tell whether more than the first step was measured."""
        return bool(self._seconds)

    @property
    def is_reliable(self) -> bool:
        """Tell whether one unusual step alone cannot mislead any more."""
        return len(self._seconds) >= _LEAST_STEPS

    @property
    def seconds(self) -> float:
        """Of one step; 0.0 before the first."""
        steps = list(self._seconds) or [self._first or 0.0]
        size = -(-len(steps) // _GROUPS)
        groups = [steps[i : i + size] for i in range(0, len(steps), size)]
        return statistics.median(statistics.fmean(group) for group in groups)


class TimeBudget:
    """The time of a training: what steps, evaluations and checkpoints have taken, and will.

    Attributes:
        seconds: all of it.
        trained: seconds in steps.
        paused: seconds in evaluations and checkpoints.
        step: what a step takes.
    """

    def __init__(self, seconds: float, images_per_step: int, num_test_images: int) -> None:
        """Begin with nothing used.

        Args:
            seconds: of the whole run, from its first step on.
            images_per_step: in training.
            num_test_images: of an evaluation, to guess its time until one was measured.
        """
        self.seconds = seconds
        self.trained = self.paused = 0.0
        self.step = StepTime()
        self._steps_of_evaluation = num_test_images / images_per_step * _EVALUATION_OF_STEP
        self._evaluation: float | None = None
        self._checkpoint = 0.0

    @property
    def used(self) -> float:
        """Seconds that are over."""
        return self.trained + self.paused

    @property
    def may_be_misled(self) -> bool:
        """Tell whether there is time, and too few steps were measured to tell how many it is for.

        The first ones may compile for minutes, and evaluations are guessed by them.
        """
        return self.used < self.seconds and not self.step.is_reliable

    @property
    def evaluation(self) -> float:
        """Seconds of an evaluation: of the latest one, or a guess before the first."""
        if self._evaluation is None:
            return self._steps_of_evaluation * self.step.seconds
        return self._evaluation

    def add_step(self, seconds: float) -> None:
        """Note the time of a step, that of its log lines included."""
        self.trained += seconds
        self.step.add(seconds)

    def add_evaluation(self, seconds: float) -> None:
        """Note the time of an evaluation."""
        self.paused += seconds
        self._evaluation = seconds

    def add_checkpoint(self, seconds: float) -> None:
        """Note the time of a checkpoint."""
        self.paused += seconds
        self._checkpoint = seconds

    def reserve(self, evaluations: int, checkpoints: int) -> float:
        """Return the seconds that so many of them will take."""
        return evaluations * self.evaluation + checkpoints * self._checkpoint

    def is_overbooked(self, evaluations: int, checkpoints: int) -> bool:
        """Tell whether less than half of the time is left for steps, and so the time won't do."""
        others = self.paused + self.reserve(evaluations, checkpoints)
        return others > (1 - _LEAST_SHARE_OF_STEPS) * self.seconds

    def steps_left(self, evaluations: int, checkpoints: int) -> int:
        """Count the steps that there is time for, beside what else has to be done.

        Args:
            evaluations: to come, the one at the end included.
            checkpoints: to come, the one at the end included.
        """
        others = self.paused + self.reserve(evaluations, checkpoints)
        for_steps = max(self.seconds - others, _LEAST_SHARE_OF_STEPS * self.seconds)
        if self.step.seconds <= 0:  # below what the clock tells apart
            return 1
        return max(0, round((for_steps - self.trained) / self.step.seconds))

    def state_dict(self) -> dict[str, Any]:
        """Return what a resumed run needs to go on with the rest of the time."""
        return {
            "seconds": self.seconds,
            "trained": self.trained,
            "paused": self.paused,
            "step": self.step.seconds,
            "evaluation": self._evaluation,
            "checkpoint": self._checkpoint,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on after what `state` tells; the length of the whole time stays this run's own."""
        self.trained, self.paused = state["trained"], state["paused"]
        self._evaluation, self._checkpoint = state["evaluation"], state["checkpoint"]
        if state["step"] > 0:
            self.step.begin_with(state["step"])
