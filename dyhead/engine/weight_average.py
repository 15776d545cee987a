"""An exponential moving average (EMA) of the weights, which is evaluated and saved.

Polyak and Juditsky (SIAM J. Control Optim. 30, 1992); the averaging itself is PyTorch's, of
`torch.optim.swa_utils`.
"""

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from dyhead.d2.engine import HookBase, hooks

logger = logging.getLogger(__name__)


class WeightAverage:
    """The moving average of a model's weights and buffers.

    After n updates the next one takes the share 1 - min(decay, (1 + n) / (10 + n)) of the weights,
    so that the random ones of the beginning are soon forgotten.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        """Average the weights of `model`, beginning with those that it has at the first update.

        Args:
            model: not wrapped for several processes.
            decay: share of the average that stays at each update, in (0, 1).
        """
        self._model, self._decay = model, decay
        self._average: dict[str, Tensor] = {}
        self._num_updates = 0
        self._training: dict[str, Tensor] | None = None  # while the average is in the model

    def begin(self) -> None:
        """Begin with the model's weights, unless there is an average."""
        if not self._average:
            self._average = _copies(self._model)

    @torch.no_grad()
    def update(self) -> None:
        """Take the model's weights into the average, after a step."""
        self.begin()
        decay = min(self._decay, (1 + self._num_updates) / (10 + self._num_updates))
        live = self._model.state_dict()
        moving = [name for name, value in live.items() if value.is_floating_point()]
        average = [self._average[name] for name in moving]
        get_ema_multi_avg_fn(decay)(average, [live[name] for name in moving], self._num_updates)
        for name, value in live.items():
            if not value.is_floating_point():  # counters
                self._average[name].copy_(value)
        self._num_updates += 1

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Let the model have the averaged weights within the context."""
        if self._training is not None or not self._average:
            yield
            return
        self._training = _copies(self._model)
        _fill(self._model, self._average)
        try:
            yield
        finally:
            training, self._training = self._training, None
            _fill(self._model, training)

    def state_dict(self) -> dict[str, Any]:
        """Return the weights that are trained, for a file whose model is the average."""
        training = _copies(self._model) if self._training is None else self._training
        return {"updates": self._num_updates, "training": training}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Go on after the model has got the weights of a file: they are the average."""
        self._average = _copies(self._model)
        self._num_updates = int(state_dict["updates"])
        _fill(self._model, state_dict["training"])


class AverageHook(HookBase):
    """Begins the average before the first step."""

    def __init__(self, average: WeightAverage) -> None:
        self._average = average

    def before_train(self) -> None:
        """Begin with the weights that the run begins with."""
        self._average.begin()


def evaluate_within(built: list[Any], context: Callable[[], AbstractContextManager[Any]]) -> None:
    """Let the hooks that evaluate do so within a context, the average's for one."""
    for hook in built:
        if isinstance(hook, hooks.EvalHook) and hook._func is not None:
            hook._func = partial(_call_within, context, hook._func)


def _call_within(
    context: Callable[[], AbstractContextManager[Any]], function: Callable[[], Any]
) -> Any:
    with context():
        return function()


def restore_training_weights(model: nn.Module, state: Mapping[str, Any]) -> None:
    """Go on without an average where the checkpoint had one."""
    _fill(model, state["training"])
    logger.warning("SOLVER.EMA.ENABLED was True before: the training goes on without the average.")


def check_average(state: Any, model: Mapping[str, Tensor]) -> None:
    """Refuse the state of an average that is not of the very same model.

    Raises:
        ValueError: a weight is missing, further or has another shape.
    """
    weights = state["training"]
    if weights.keys() != model.keys():
        raise ValueError("the weights of its training are not those of the model")
    for name, weight in weights.items():
        if weight.shape != model[name].shape:
            raise ValueError(
                f"its weight {name} in training has the shape {tuple(weight.shape)}, and the"
                f" model's has {tuple(model[name].shape)}"
            )


def _copies(model: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in model.state_dict().items()}


@torch.no_grad()
def _fill(model: nn.Module, values: Mapping[str, Tensor]) -> None:
    for name, value in model.state_dict().items():
        value.copy_(values[name])
