"""Makes sure that all processes of a run begin with the same data, config, step and weights.

DistributedDataParallel sends weights round when a model is wrapped, before any are loaded, and from
there on averages gradients alone: processes that have loaded other files, or have another learning
rate, would train on side by side, each with its own weights, and nothing would tell. Each draws the
images of all and takes its part: of other images the parts are no whole.
"""

from typing import Any

import torch
from torch import nn

from dyhead.config.load import leaf_keys, value_of
from dyhead.d2.config import CfgNode
from dyhead.d2.utils import comm
from dyhead.errors import UserError

# What may differ between machines.
_OF_THE_MACHINE = {
    *("DATALOADER.NUM_WORKERS", "DATASETS.COCO_JSON", "DATASETS.SOURCES"),
    *("MODEL.DEVICE", "MODEL.WEIGHTS", "OUTPUT_DIR"),
}


def check_same_start(
    cfg: CfgNode, model: nn.Module, start_iter: int, num_images: int | None
) -> None:
    """Compare the processes after they have loaded; all of them call this.

    Args:
        cfg: the whole config of this process.
        model: of this process.
        start_iter: the step that it begins with, counted from 0.
        num_images: in its training data; None where that is not known.

    Raises:
        UserError: another process has other data, another config, step or weights; in every
            process.
    """
    if comm.get_world_size() == 1:
        return
    numbers = comm.all_gather(num_images)  # first: SOLVER.EPOCHS makes a length of it
    if (rank := _other(numbers)) is not None:
        raise UserError(
            f"Process {rank} of the run (counted from 0) has {numbers[rank]} training images and"
            f" process 0 has {numbers[0]}: let all machines see the same data; the log of each"
            " process says what it has left out."
        )
    configs = comm.all_gather(_config(cfg))
    if (rank := _other(configs)) is not None:
        key = next(key for key in configs[0] if configs[rank].get(key) != configs[0][key])
        raise UserError(
            f"{key} is {configs[rank].get(key)} in process {rank} of the run (counted from 0) and"
            f" {configs[0][key]} in process 0: start all machines with the same config and options."
        )
    steps = comm.all_gather(start_iter)
    if (rank := _other(steps)) is not None:
        raise UserError(
            f"Process {rank} of the run (counted from 0) begins after {steps[rank]} steps and"
            f" process 0 after {steps[0]}: to --resume, OUTPUT_DIR {cfg.OUTPUT_DIR} has to be one"
            " folder that all machines see."
        )
    if (rank := _other(comm.all_gather(_sums(model)))) is not None:
        raise UserError(
            f"Process {rank} of the run (counted from 0) has loaded other weights than process 0:"
            " let all machines see the same file as MODEL.WEIGHTS, and with --resume the same"
            f" OUTPUT_DIR {cfg.OUTPUT_DIR}."
        )


def _other(values: list[Any]) -> int | None:
    """Return the first process whose value is not that of process 0; None where all are alike."""
    return next((rank for rank, value in enumerate(values) if value != values[0]), None)


def _config(cfg: CfgNode) -> dict[str, str]:
    keys = [key for key in leaf_keys(cfg) if key not in _OF_THE_MACHINE]
    return {key: repr(value_of(cfg, key)) for key in keys}


@torch.no_grad()
def _sums(model: nn.Module) -> list[int]:
    """Add up the bytes of each parameter: exact, on whatever device it lies."""
    sums = [p.detach().flatten().view(torch.uint8).sum() for p in model.parameters()]
    return [int(each) for each in sums]
