"""The training loop, its hooks, and what a standard training program starts with."""

from typing import Any

from . import defaults
from .defaults import (
    create_ddp_model,
    default_argument_parser,
    default_setup,
    default_writers,
)
from .hooks import (
    BestCheckpointer,
    CallbackHook,
    EvalHook,
    IterationTimer,
    LRScheduler,
    PeriodicCheckpointer,
    PeriodicWriter,
)
from .launch import launch
from .simple_trainer import AMPTrainer, SimpleTrainer
from .train_loop import HookBase, TrainerBase
from .trainer import DefaultTrainer

__all__ = [
    "AMPTrainer",
    "BestCheckpointer",
    "CallbackHook",
    "DefaultTrainer",
    "EvalHook",
    "HookBase",
    "IterationTimer",
    "LRScheduler",
    "PeriodicCheckpointer",
    "PeriodicWriter",
    "SimpleTrainer",
    "TrainerBase",
    "create_ddp_model",
    "default_argument_parser",
    "default_setup",
    "default_writers",
    "launch",
]


def __getattr__(name: str) -> Any:
    return getattr(defaults, name)  # DefaultPredictor
