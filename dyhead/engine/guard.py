"""Stops a run at the first loss or gradient that is not a finite number."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import nn

from dyhead.d2.engine import HookBase
from dyhead.d2.utils import comm


class FiniteGuard(HookBase):
    """A hook that checks losses and gradients of every step before the optimizer changes a weight.

    Register it on the trainer that runs the step (`SimpleTrainer` or `AMPTrainer`). One number is
    read back from the device per step. The latest checkpoint stays as it is: nothing is saved
    between the step that failed and the error.
    """

    def __init__(self, model: nn.Module) -> None:
        """Watch the inputs and losses of `model`, which maps a list of dicts to a dict of losses.

        Args:
            model: the module that the trainer calls, wrapped for several processes or not.
        """
        self._model = model
        self._images: list[str] = []
        self._losses: dict[str, torch.Tensor] = {}
        model.register_forward_hook(self._remember_step)

    def _remember_step(self, model: nn.Module, inputs: tuple[Any, ...], losses: Any) -> None:
        if not model.training:
            return
        self._images = [_name_of(image) for image in inputs[0]]
        self._losses = {name: loss.detach() for name, loss in losses.items()}

    def after_backward(self) -> None:
        """Check the step that has just run backward, in all processes together.

        Raises:
            FloatingPointError: a loss or gradient is NaN or infinite in one of the processes.
        """
        scaler = getattr(self.trainer, "grad_scaler", None)
        losses = torch.stack([loss.float() for loss in self._losses.values()])
        is_finite = losses.isfinite().all()
        # A loss scaler meets overflows at large scales, skips their steps and lowers the scale; at
        # a scale of 1 it has run out of ways to help.
        if scaler is None or scaler.get_scale() <= 1.0:
            is_finite = is_finite & _all_finite(self._gradients())
        if not _in_all_processes(is_finite):
            raise FloatingPointError(self._describe())

    def _gradients(self) -> list[torch.Tensor]:
        return [p.grad for p in self._model.parameters() if p.grad is not None]

    def _describe(self) -> str:
        mine = ({name: loss.item() for name, loss in self._losses.items()}, self._images)
        steps = comm.all_gather(mine)
        losses = "; ".join(_describe_losses(losses) for losses, _ in steps)
        images = ", ".join(image for _, names in steps for image in names)
        message = f"Step {self.trainer.iter}: a loss or gradient is not finite. Losses: {losses}."
        if bad := _names_of_bad_gradients(self._model):
            message += f" Gradients: {', '.join(bad)}."
        return (
            f"{message} Images: {images}. No weight was changed in this step; look at these images,"
            " lower SOLVER.BASE_LR or clip gradients (SOLVER.CLIP_GRADIENTS), and --resume."
        )


def _name_of(image: Mapping[str, Any]) -> str:
    # Not by its id: the host may have another one than the data set's file.
    return str(image.get("file_name", "unnamed image"))


def _all_finite(tensors: Sequence[torch.Tensor]) -> torch.Tensor:
    """Tell, in a 0-dim bool, whether every element of every tensor is finite."""
    if not tensors:
        return torch.tensor(True)
    # On a CPU squares are added up many times faster than the largest magnitude is found. A square
    # may overflow, so only the latter has the last word.
    if all(tensor.device.type == "cpu" for tensor in tensors):
        is_finite = _norms(tensors, 2).isfinite().all()
        if is_finite:
            return is_finite
    return _norms(tensors, math.inf).isfinite().all()


def _norms(tensors: Sequence[torch.Tensor], order: float) -> torch.Tensor:
    return torch.stack(torch._foreach_norm(list(tensors), order))


def _in_all_processes(flag: torch.Tensor) -> bool:
    """Tell whether `flag` is true everywhere: all processes get one answer, and stop together."""
    if comm.get_world_size() > 1:
        flag = flag.to(torch.int32)
        dist.all_reduce(flag, op=dist.ReduceOp.MIN)
    return bool(flag.item())


def _describe_losses(losses: Mapping[str, float]) -> str:
    return ", ".join(f"{name}={value:.6g}" for name, value in losses.items())


def _names_of_bad_gradients(model: nn.Module, limit: int = 3) -> list[str]:
    bad = [
        name
        for name, parameter in model.named_parameters()
        if parameter.grad is not None and not parameter.grad.isfinite().all()
    ]
    return bad[:limit] + ([f"and {len(bad) - limit} more"] if len(bad) > limit else [])
