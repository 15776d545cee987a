"""The host's `solver`."""

from dyhead.d2._host import HOST

if HOST == "detectron2":
    from detectron2.solver import (
        LRMultiplier,
        WarmupParamScheduler,
        build_lr_scheduler,
        build_optimizer,
        get_default_optimizer_params,
    )
else:
    from dyhead.d2._embedded.solver import (
        LRMultiplier,
        WarmupParamScheduler,
        build_lr_scheduler,
        build_optimizer,
        get_default_optimizer_params,
    )

__all__ = [
    "LRMultiplier",
    "WarmupParamScheduler",
    "build_lr_scheduler",
    "build_optimizer",
    "get_default_optimizer_params",
]
