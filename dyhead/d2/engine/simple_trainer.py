"""Trainers for one model, one data loader and one optimizer, in full or in mixed precision."""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.parallel import DataParallel
from torch.optim import Optimizer

from ..utils import comm
from ..utils.events import get_event_storage
from .train_loop import TrainerBase

__all__ = ["AMPTrainer", "SimpleTrainer"]


class SimpleTrainer(TrainerBase):
    """Each iteration: one batch, its losses, their gradients, one optimizer step.

    Args:
        model: from a batch to a dict of scalar losses, or to one loss; put into training mode.
        data_loader: endless batches.
        optimizer: of the model's parameters.
        gather_metric_period: collect the losses of all processes every so many iterations.
        zero_grad_before_forward: clear gradients before the forward pass instead of after it.
        async_write_metrics: write metrics in a thread, so that a GPU need not be waited for; an
            error in one, such as a non-finite loss, stops the run one iteration later.
    """

    def __init__(
        self,
        model: nn.Module,
        data_loader: Iterable[Any],
        optimizer: Optimizer,
        gather_metric_period: int = 1,
        zero_grad_before_forward: bool = False,
        async_write_metrics: bool = False,
    ) -> None:
        super().__init__()
        model.train()
        self.model = model
        self.data_loader = data_loader
        self._data_loader_iter_obj: Iterator[Any] | None = None
        self.optimizer = optimizer
        self.gather_metric_period = gather_metric_period
        self.zero_grad_before_forward = zero_grad_before_forward
        self.async_write_metrics = async_write_metrics
        self._metric_writer: ThreadPoolExecutor | None = None
        self._pending_write: Future[None] | None = None

    def run_step(self) -> None:
        """Do one iteration.

        Raises:
            FloatingPointError: a loss is not finite; the weights have not been changed by it.
        """
        data, data_time = self._next_batch()
        if self.zero_grad_before_forward:
            self.optimizer.zero_grad()
        total_loss, loss_dict = self._losses(data)
        if not self.zero_grad_before_forward:
            self.optimizer.zero_grad()
        total_loss.backward()
        self.after_backward()
        self._record_metrics(loss_dict, data_time)
        self.optimizer.step()

    def _next_batch(self) -> tuple[Any, float]:
        """The next batch, and the seconds that it had to be waited for."""
        assert self.model.training, (
            "The model is in eval mode: a hook has to put it back with model.train()."
        )
        start = time.perf_counter()
        return next(self._data_loader_iter), time.perf_counter() - start

    def _losses(self, data: Any) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        losses = self.model(data)
        if isinstance(losses, torch.Tensor):
            return losses, {"total_loss": losses}
        return sum(losses.values()), losses  # type: ignore[return-value]

    @property
    def _data_loader_iter(self) -> Iterator[Any]:
        if self._data_loader_iter_obj is None:
            self._data_loader_iter_obj = iter(self.data_loader)
        return self._data_loader_iter_obj

    def reset_data_loader(self, data_loader_builder: Callable[[], Iterable[Any]]) -> None:
        """Drop the data loader, then take the one that `data_loader_builder` makes."""
        del self.data_loader
        self._data_loader_iter_obj = None
        self.data_loader = data_loader_builder()

    def _record_metrics(self, loss_dict: Mapping[str, torch.Tensor], data_time: float) -> None:
        if not self.async_write_metrics:
            self._write_metrics(loss_dict, data_time)
            return
        self._finish_pending_write()
        if self._metric_writer is None:
            self._metric_writer = ThreadPoolExecutor(max_workers=1)
        self._pending_write = self._metric_writer.submit(
            self._write_metrics, loss_dict, data_time, iter=self.iter
        )

    def _finish_pending_write(self) -> None:
        pending, self._pending_write = self._pending_write, None
        if pending is not None:
            pending.result()

    def _write_metrics(
        self,
        loss_dict: Mapping[str, torch.Tensor],
        data_time: float,
        prefix: str = "",
        iter: int | None = None,
    ) -> None:
        iteration = self.iter if iter is None else iter
        if (iteration + 1) % self.gather_metric_period == 0:
            self.write_metrics(loss_dict, data_time, iteration, prefix)

    @staticmethod
    def write_metrics(
        loss_dict: Mapping[str, torch.Tensor],
        data_time: float,
        cur_iter: int,
        prefix: str = "",
    ) -> None:
        """Put the losses, averaged over all processes, into the event storage.

        Args:
            loss_dict: scalar losses.
            data_time: seconds that this process waited for data; the slowest process counts.
            cur_iter: the iteration they belong to.
            prefix: put before "total_loss".

        Raises:
            FloatingPointError: the sum of the losses is not finite.
        """
        metrics = {name: loss.detach().cpu().item() for name, loss in loss_dict.items()}
        storage = get_event_storage()
        storage.put_scalar("rank_data_time", data_time, cur_iter=cur_iter)
        gathered = comm.gather({**metrics, "data_time": data_time})
        if not comm.is_main_process():
            return
        slowest = max(one.pop("data_time") for one in gathered)
        storage.put_scalar("data_time", slowest, cur_iter=cur_iter)
        means = {name: float(np.mean([one[name] for one in gathered])) for name in metrics}
        total = sum(means.values())
        if not np.isfinite(total):
            raise FloatingPointError(f"The loss of iteration {cur_iter} is not finite: {means}")
        storage.put_scalar(f"{prefix}total_loss", total, cur_iter=cur_iter)
        if len(means) > 1:
            for name, mean in means.items():
                storage.put_scalar(name, mean, cur_iter=cur_iter)

    def after_train(self) -> None:
        """Finish writing metrics, then run the hooks."""
        if self._metric_writer is not None:
            self._metric_writer.shutdown(wait=True)
            self._metric_writer = self._pending_write = None
        super().after_train()

    def state_dict(self) -> dict[str, Any]:
        """The loop's state and the optimizer's."""
        return {**super().state_dict(), "optimizer": self.optimizer.state_dict()}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Restore what `state_dict` gave."""
        super().load_state_dict(state_dict)
        self.optimizer.load_state_dict(state_dict["optimizer"])


class AMPTrainer(SimpleTrainer):
    """A SimpleTrainer that runs the model under autocast, on the device that holds the model.

    Args:
        model: as in SimpleTrainer.
        data_loader: as in SimpleTrainer.
        optimizer: as in SimpleTrainer.
        gather_metric_period: as in SimpleTrainer.
        zero_grad_before_forward: as in SimpleTrainer.
        grad_scaler: scales the loss; None makes one where `precision` is float16.
        precision: the type to compute in. On a CPU float16 becomes bfloat16, which CPUs compute
            faster and which needs no scaling.
        log_grad_scaler: record the scale at every iteration.
        async_write_metrics: as in SimpleTrainer.
    """

    def __init__(
        self,
        model: nn.Module,
        data_loader: Iterable[Any],
        optimizer: Optimizer,
        gather_metric_period: int = 1,
        zero_grad_before_forward: bool = False,
        grad_scaler: torch.amp.GradScaler | None = None,
        precision: torch.dtype = torch.float16,
        log_grad_scaler: bool = False,
        async_write_metrics: bool = False,
    ) -> None:
        if isinstance(model, DataParallel) or len(getattr(model, "device_ids", None) or ()) > 1:
            raise ValueError("AMPTrainer needs one process for each device: use launch().")
        super().__init__(
            model,
            data_loader,
            optimizer,
            gather_metric_period,
            zero_grad_before_forward,
            async_write_metrics,
        )
        self._device_type = next(model.parameters()).device.type
        if self._device_type == "cpu" and precision == torch.float16:
            precision = torch.bfloat16
        if grad_scaler is None:
            scaling = precision == torch.float16
            grad_scaler = torch.amp.GradScaler(self._device_type, enabled=scaling)
        self.grad_scaler = grad_scaler
        self.precision = precision
        self.log_grad_scaler = log_grad_scaler

    def run_step(self) -> None:
        """Do one iteration in mixed precision.

        Raises:
            FloatingPointError: a loss is not finite; the weights have not been changed by it.
        """
        data, data_time = self._next_batch()
        if self.zero_grad_before_forward:
            self.optimizer.zero_grad()
        with torch.autocast(self._device_type, dtype=self.precision):
            total_loss, loss_dict = self._losses(data)
        if not self.zero_grad_before_forward:
            self.optimizer.zero_grad()
        self.grad_scaler.scale(total_loss).backward()
        if self.log_grad_scaler:
            get_event_storage().put_scalar("[metric]grad_scaler", self.grad_scaler.get_scale())
        self.after_backward()
        self._record_metrics(loss_dict, data_time)
        self.grad_scaler.step(self.optimizer)
        self.grad_scaler.update()

    def state_dict(self) -> dict[str, Any]:
        """The loop's, the optimizer's and the gradient scaler's state."""
        return {**super().state_dict(), "grad_scaler": self.grad_scaler.state_dict()}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Restore what `state_dict` gave; a run without scaling leaves the scaler as made."""
        super().load_state_dict(state_dict)
        if state_dict["grad_scaler"]:
            self.grad_scaler.load_state_dict(state_dict["grad_scaler"])
