"""A training that is interrupted."""

from dyhead.d2.engine import HookBase


class StopAt(HookBase):
    """Ends the training before a step, as Ctrl-C does."""

    def __init__(self, step: int) -> None:
        self.step = step

    def before_step(self) -> None:
        if self.trainer.iter == self.step:
            raise KeyboardInterrupt
