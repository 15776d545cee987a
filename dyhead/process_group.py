"""Leaves the group of a run's processes, with success."""

import logging
import os
import sys

import torch.distributed as dist


def leave_process_group() -> None:
    """Leave the other processes, if there are any: on the CPU by ending this one at once.

    On some releases of PyTorch taking gloo's process group down now and then hangs or aborts, so
    that a training that is complete would be reported as failed, or never.
    """
    if not dist.is_initialized():
        return
    if dist.get_backend() != "gloo":
        dist.destroy_process_group()
        return
    dist.barrier()  # nobody waits for this process any more
    end_process(0)


def end_process(status: int) -> None:
    """End one of several processes at once, whatever the others do."""
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)
