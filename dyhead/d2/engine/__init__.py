"""The host's `engine`.

`DefaultPredictor` is the project's on either host, and imported when it is asked for: it needs what
is built upon this package. Genuine Detectron2 has one of the same name and arguments.
"""

from typing import TYPE_CHECKING, Any

from dyhead.d2._host import HOST

if TYPE_CHECKING:
    from dyhead.default_predictor import DefaultPredictor

if HOST == "detectron2":
    from detectron2.engine import (
        AMPTrainer,
        DefaultTrainer,
        HookBase,
        SimpleTrainer,
        TrainerBase,
        create_ddp_model,
        default_argument_parser,
        default_setup,
        default_writers,
        launch,
    )
else:
    from dyhead.d2._embedded.engine import (
        AMPTrainer,
        DefaultTrainer,
        HookBase,
        SimpleTrainer,
        TrainerBase,
        create_ddp_model,
        default_argument_parser,
        default_setup,
        default_writers,
        launch,
    )

__all__ = [
    "AMPTrainer",
    "DefaultPredictor",
    "DefaultTrainer",
    "HookBase",
    "SimpleTrainer",
    "TrainerBase",
    "create_ddp_model",
    "default_argument_parser",
    "default_setup",
    "default_writers",
    "launch",
]


def __getattr__(name: str) -> Any:
    if name == "DefaultPredictor":
        from dyhead.default_predictor import DefaultPredictor

        return DefaultPredictor
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
