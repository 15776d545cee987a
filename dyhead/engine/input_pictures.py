"""Shows in TensorBoard what the model is trained on, at the start of a run."""

import importlib.util
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from dyhead.d2.engine import HookBase
from dyhead.d2.utils.events import get_event_storage
from dyhead.visualization.model_input import draw_model_input

TAG = "model_input"

_NUM_BATCHES = 2
_MAX_PICTURES = 8  # of each batch


class InputPicturesHook(HookBase):
    """Gives the pictures of a run's first batches, with their boxes, to the writers of events.

    They are taken where the model takes them, so that nothing comes between: no batch is drawn from
    the loader for them. Register it in the main process only.
    """

    def __init__(self, model: nn.Module, channel_order: str, class_names: Sequence[str]) -> None:
        """Prepare to watch the inputs of `model`.

        Args:
            model: the module that the trainer calls, wrapped for several processes or not.
            channel_order: INPUT.FORMAT.
            class_names: by class index.
        """
        self._model = model
        self._channel_order = channel_order
        self._class_names = class_names
        self._left = _NUM_BATCHES

    @staticmethod
    def is_useful() -> bool:
        """Return True where TensorBoard, the only writer of pictures, is installed."""
        return importlib.util.find_spec("tensorboard") is not None

    def before_train(self) -> None:
        """Begin to watch."""
        self._handle = self._model.register_forward_pre_hook(self._show)

    def after_train(self) -> None:
        """Leave the model as it was, after a run that was shorter than what is shown."""
        self._handle.remove()

    def _show(self, model: nn.Module, inputs: tuple[Any, ...]) -> None:
        if not model.training:  # an evaluation between
            return
        storage = get_event_storage()
        for index, model_input in enumerate(inputs[0][:_MAX_PICTURES]):
            storage.put_image(f"{TAG}/{index}", self._draw(model_input))
        self._left -= 1
        if not self._left:
            self._handle.remove()

    def _draw(self, model_input: Mapping[str, Any]) -> torch.Tensor:
        """Return a picture as the storage takes it, (3, H, W) of uint8."""
        picture = draw_model_input(model_input, self._channel_order, self._class_names)
        return torch.from_numpy(np.asarray(picture).transpose(2, 0, 1).copy())
