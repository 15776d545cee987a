"""Makes sure that all processes of a run begin with the same step and the same weights.

DistributedDataParallel compares weights when a model is wrapped, before any are loaded, and from
there on adds up gradients alone: processes that have loaded other files would train on side by
side, each with its own weights, and nothing would tell.
"""

import torch
from torch import nn

from dyhead.d2.utils import comm
from dyhead.errors import UserError


def check_same_start(model: nn.Module, start_iter: int, output_dir: str) -> None:
    """Compare the processes after they have loaded; all of them call this.

    Args:
        model: of this process.
        start_iter: the step that it begins with, counted from 0.
        output_dir: the run's, for errors.

    Raises:
        UserError: another process begins with another step or other weights; in every process.
    """
    if comm.get_world_size() == 1:
        return
    starts = comm.all_gather((start_iter, _sums(model)))
    steps = [step for step, _ in starts]
    others = [rank for rank, step in enumerate(steps) if step != steps[0]]
    if others:
        raise UserError(
            f"Process {others[0]} of the run (counted from 0) begins after {steps[others[0]]} steps"
            f" and process 0 after {steps[0]}: to --resume, OUTPUT_DIR {output_dir} has to be one"
            " folder that all machines see."
        )
    others = [rank for rank, start in enumerate(starts) if start != starts[0]]
    if others:
        raise UserError(
            f"Process {others[0]} of the run (counted from 0) has loaded other weights than process"
            f" 0: let all machines see the same file as MODEL.WEIGHTS, and with --resume the same"
            f" OUTPUT_DIR {output_dir}."
        )


@torch.no_grad()
def _sums(model: nn.Module) -> list[int]:
    """Add up the bytes of each parameter: exact, on whatever device it lies."""
    sums = [p.detach().flatten().view(torch.uint8).sum() for p in model.parameters()]
    return [int(each) for each in sums]
