"""The training step in mixed precision, on GPUs and CPUs."""

import time
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import nn

from dyhead.d2.engine import AMPTrainer, SimpleTrainer


class MixedPrecisionTrainer(AMPTrainer):
    """Detectron2's AMPTrainer, on any device.

    Detectron2's own asserts a GPU, and scales the loss also where no small gradient can vanish.
    """

    def __init__(
        self,
        model: nn.Module,
        data_loader: Iterable[Any],
        optimizer: torch.optim.Optimizer,
        dtype: torch.dtype,
    ) -> None:
        """Train `model`, on the device that holds it.

        Args:
            model: from a batch to a dict of scalar losses.
            data_loader: endless batches.
            optimizer: of the model's parameters.
            dtype: bfloat16, or float16, whose small range takes a scaled loss.
        """
        self._device_type = next(model.parameters()).device.type
        scaler = torch.amp.GradScaler(self._device_type, enabled=dtype == torch.float16)
        super().__init__(model, data_loader, optimizer, grad_scaler=scaler, precision=dtype)

    def run_step(self) -> None:
        """Do one iteration."""
        assert self.model.training, "a hook left the model in evaluation mode"
        start = time.perf_counter()
        batch = next(self._data_loader_iter)
        data_time = time.perf_counter() - start
        with torch.autocast(self._device_type, dtype=self.precision):
            losses = self.model(batch)
            total = sum(losses.values())
        self.optimizer.zero_grad()
        self.grad_scaler.scale(total).backward()
        self.after_backward()
        self._write_metrics(losses, data_time)
        self.grad_scaler.step(self.optimizer)
        self.grad_scaler.update()

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Restore a run of any precision; the loss scale only where both runs have one."""
        SimpleTrainer.load_state_dict(self, state_dict)
        if state_dict.get("grad_scaler"):
            self.grad_scaler.load_state_dict(state_dict["grad_scaler"])
