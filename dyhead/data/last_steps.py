"""The last steps of a training, by the positions of their images in the stream."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch

_NEVER = 2**62  # the position of an image that no training comes to


class _Origin(NamedTuple):
    """A step of the run, and how many images were given out before it."""

    step: int = 0
    images: int = 0


class LastSteps:
    """Tells of any image whether it belongs to the last steps of a training.

    Loader workers, which draw images ahead, see each change of the training's length. A resumed run
    has the same last steps; with batches of another size they begin at the same step, too.
    """

    def __init__(self, share: float, num_steps: int, batch_size: int) -> None:
        """Choose the last steps.

        Args:
            share: of all steps, from 0 to 1.
            num_steps: of the training.
            batch_size: images in a step of all processes together.
        """
        self._share, self._num_steps, self._batch_size = share, num_steps, batch_size
        self._origin = _Origin()
        self._begin = torch.zeros((), dtype=torch.int64).share_memory_()
        self.plan(num_steps)

    def plan(self, num_steps: int) -> None:
        """Take another length of the training, in steps; sys.maxsize while none is known."""
        self._num_steps = num_steps
        first = num_steps - round(self._share * num_steps)
        steps = first - self._origin.step
        self._begin.fill_(min(self._origin.images + steps * self._batch_size, _NEVER))

    def includes(self, position: int) -> bool:
        """Tell whether the image at a position of the stream is of the last steps."""
        return position >= int(self._begin)

    def state_dict(self) -> dict[str, Any]:
        """Return what a resumed run needs to know."""
        return {"step": self._origin.step, "images": self._origin.images}

    def load_state_dict(
        self, state: Mapping[str, Any] | None, batch_size: int, images: int
    ) -> None:
        """Go on in a run.

        Args:
            state: of that run; None for one of an older version.
            batch_size: images that it had in a step.
            images: that it has given out so far.
        """
        origin = _Origin(**(state or {}))
        if batch_size != self._batch_size:
            steps = (images - origin.images) // batch_size
            origin = _Origin(origin.step + steps, images)
        self._origin = origin
        self.plan(self._num_steps)
