"""Learning rate schedules: one multiplier for all groups, a function of the progress."""

from typing import Any

from fvcore.common.param_scheduler import (
    CompositeParamScheduler,
    ConstantParamScheduler,
    LinearParamScheduler,
    ParamScheduler,
)
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

__all__ = ["LRMultiplier", "LRScheduler", "WarmupParamScheduler"]


class WarmupParamScheduler(CompositeParamScheduler):
    """A schedule whose first part is replaced by a warm-up.

    Args:
        scheduler: the schedule after the warm-up.
        warmup_factor: the warm-up starts at this fraction of the schedule's first value.
        warmup_length: the part of the whole training, in [0, 1], that the warm-up takes.
        warmup_method: "linear" rises to the schedule, "constant" stays at the first value.
        rescale_interval: squeeze the whole schedule into the time after the warm-up, instead of
            joining it where it would have been by then.

    Raises:
        ValueError: unknown `warmup_method`.
    """

    def __init__(
        self,
        scheduler: ParamScheduler,
        warmup_factor: float,
        warmup_length: float,
        warmup_method: str = "linear",
        rescale_interval: bool = False,
    ) -> None:
        start = warmup_factor * scheduler(0.0)
        if warmup_method == "constant":
            warmup: ParamScheduler = ConstantParamScheduler(start)
        elif warmup_method == "linear":
            end = scheduler(0.0 if rescale_interval else warmup_length)
            warmup = LinearParamScheduler(start, end)
        else:
            raise ValueError(
                f"SOLVER.WARMUP_METHOD is {warmup_method!r}: use 'linear' or 'constant'."
            )
        super().__init__(
            [warmup, scheduler],
            interval_scaling=["rescaled", "rescaled" if rescale_interval else "fixed"],
            lengths=[warmup_length, 1 - warmup_length],
        )


class LRMultiplier(LRScheduler):
    """Multiplies every parameter group's initial learning rate by one schedule.

    Args:
        optimizer: its groups keep their learning rates relative to each other.
        multiplier: the factor at progress `iteration / max_iter`.
        max_iter: iterations of the whole training; `step()` is called once for each.
        last_iter: the last finished iteration, -1 for a fresh start.

    Raises:
        ValueError: `multiplier` is no fvcore `ParamScheduler`.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        multiplier: ParamScheduler,
        max_iter: int,
        last_iter: int = -1,
    ) -> None:
        if not isinstance(multiplier, ParamScheduler):
            raise ValueError(f"multiplier must be an fvcore ParamScheduler, got {multiplier!r}.")
        self._multiplier = multiplier
        self._max_iter = max_iter
        super().__init__(optimizer, last_epoch=last_iter)

    def state_dict(self) -> dict[str, Any]:
        """Return what a resumed run needs; the schedule itself comes from the config again."""
        return {"base_lrs": self.base_lrs, "last_epoch": self.last_epoch}

    def get_lr(self) -> list[Any]:
        """The learning rate of each parameter group at the current iteration."""
        factor = self._multiplier(self.last_epoch / self._max_iter)
        return [base_lr * factor for base_lr in self.base_lrs]
