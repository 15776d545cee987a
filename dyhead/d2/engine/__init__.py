"""The host's `engine`."""

from dyhead.d2._host import HOST

if HOST == "detectron2":
    from detectron2.engine import (
        AMPTrainer,
        DefaultPredictor,
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
        DefaultPredictor,
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
