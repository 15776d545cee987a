"""The training loop: a trainer runs steps, its hooks do the rest."""

import logging
import weakref
from collections.abc import Iterable, Mapping
from typing import Any

from ..utils.events import EventStorage

__all__ = ["HookBase", "TrainerBase"]

logger = logging.getLogger("detectron2.engine.train_loop")


class HookBase:
    """Something done at fixed points of the training loop.

    The trainer sets `trainer`, a weak reference to itself, when the hook is registered. What takes
    time belongs into `after_step`: `before_step` counts as part of the step.
    """

    trainer: Any = None

    def before_train(self) -> None:
        """Called once, before the first iteration."""

    def after_train(self) -> None:
        """Called once, after the last iteration, also when training fails."""

    def before_step(self) -> None:
        """Called before each iteration."""

    def after_backward(self) -> None:
        """Called after each backward pass, before the optimizer's step."""

    def after_step(self) -> None:
        """Called after each iteration."""

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps of the hook; one that keeps anything has `load_state_dict`."""
        return {}


class TrainerBase:
    """A loop of iterations with hooks; a subclass says what one iteration does.

    Attributes:
        iter: the current iteration, counted from 0 over all resumed runs.
        start_iter: the iteration this run begins with.
        max_iter: the iteration before which it ends.
        storage: the EventStorage that is open during training.
    """

    def __init__(self) -> None:
        self._hooks: list[HookBase] = []
        self.iter: int = 0
        self.start_iter: int = 0
        self.max_iter: int
        self.storage: EventStorage

    def register_hooks(self, hooks: Iterable[HookBase | None]) -> None:
        """Add hooks, to run in this order; None is left out."""
        for hook in hooks:
            if hook is None:
                continue
            if not isinstance(hook, HookBase):
                raise TypeError(f"{hook!r} is no hook: derive it from HookBase.")
            hook.trainer = weakref.proxy(self)
            self._hooks.append(hook)

    def train(self, start_iter: int, max_iter: int) -> Any:
        """Run the iterations from `start_iter` up to, not including, `max_iter`."""
        logger.info("Starting training from iteration %d", start_iter)
        self.iter = self.start_iter = start_iter
        self.max_iter = max_iter
        with EventStorage(start_iter) as self.storage:
            try:
                self._run_iterations()
            except Exception:
                logger.exception("Training failed in iteration %d:", self.iter)
                raise
            finally:
                self.after_train()

    def _run_iterations(self) -> None:
        """Count `iter` up to `max_iter`, which tells hooks that training came to its end."""
        self.before_train()
        while self.iter < self.max_iter:
            self.before_step()
            self.run_step()
            self.after_step()
            self.iter += 1

    def before_train(self) -> None:
        """Run the hooks before the first iteration."""
        for hook in self._hooks:
            hook.before_train()

    def after_train(self) -> None:
        """Run the hooks after the last iteration."""
        self.storage.iter = self.iter
        for hook in self._hooks:
            hook.after_train()

    def before_step(self) -> None:
        """Run the hooks before an iteration."""
        self.storage.iter = self.iter
        for hook in self._hooks:
            hook.before_step()

    def after_backward(self) -> None:
        """Run the hooks after a backward pass."""
        for hook in self._hooks:
            hook.after_backward()

    def after_step(self) -> None:
        """Run the hooks after an iteration."""
        for hook in self._hooks:
            hook.after_step()

    def run_step(self) -> None:
        """Do one iteration."""
        raise NotImplementedError("A trainer has to define run_step().")

    def state_dict(self) -> dict[str, Any]:
        """The iteration, and the state of the first hook of each kind that has one."""
        hooks: dict[str, Any] = {}
        for hook in self._hooks:
            state = hook.state_dict()
            if state:
                hooks.setdefault(type(hook).__qualname__, state)
        return {"iteration": self.iter, **({"hooks": hooks} if hooks else {})}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Restore what `state_dict` gave; the state of a hook that is gone is left out."""
        self.iter = state_dict["iteration"]
        for name, state in state_dict.get("hooks", {}).items():
            hook: Any = next((h for h in self._hooks if type(h).__qualname__ == name), None)
            if hook is None:
                logger.warning("There is no hook %r: its state is not restored.", name)
            else:
                hook.load_state_dict(state)


def __getattr__(name: str) -> Any:
    """Give, when they are asked for, the trainers, whose module imports this one."""
    if name in ("AMPTrainer", "SimpleTrainer"):
        from . import simple_trainer

        return getattr(simple_trainer, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
