"""Training: arguments, processes, the trainer and its optimizer."""

from dyhead.engine.arguments import argument_parser, parse_arguments
from dyhead.engine.devices import plan_devices
from dyhead.engine.exits import exit_on_user_error
from dyhead.engine.guard import FiniteGuard
from dyhead.engine.launch import launch
from dyhead.engine.optimizer import build_optimizer
from dyhead.engine.setup import prepare_run
from dyhead.engine.trainer import Trainer

__all__ = [
    "FiniteGuard",
    "Trainer",
    "argument_parser",
    "build_optimizer",
    "exit_on_user_error",
    "launch",
    "parse_arguments",
    "plan_devices",
    "prepare_run",
]
