"""The host's `engine.hooks`."""

from dyhead.d2._host import HOST

if HOST == "detectron2":
    from detectron2.engine.hooks import (
        BestCheckpointer,
        CallbackHook,
        EvalHook,
        IterationTimer,
        LRScheduler,
        PeriodicCheckpointer,
        PeriodicWriter,
    )
else:
    from dyhead.d2._embedded.engine.hooks import (
        BestCheckpointer,
        CallbackHook,
        EvalHook,
        IterationTimer,
        LRScheduler,
        PeriodicCheckpointer,
        PeriodicWriter,
    )

__all__ = [
    "BestCheckpointer",
    "CallbackHook",
    "EvalHook",
    "IterationTimer",
    "LRScheduler",
    "PeriodicCheckpointer",
    "PeriodicWriter",
]
