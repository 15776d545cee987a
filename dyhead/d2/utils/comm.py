"""Communication between the processes of one run.

Every function also works, as for a world of one, where torch.distributed is not initialized.
"""

import functools
from typing import Any, cast

import numpy as np
import torch
import torch.distributed as dist

_local_process_group: dist.ProcessGroup | None = None


def _is_distributed() -> bool:
    return dist.is_available() and dist.is_initialized()


def get_world_size() -> int:
    """Return the number of processes on all machines together."""
    return dist.get_world_size() if _is_distributed() else 1


def get_rank() -> int:
    """Return this process's number among all processes."""
    return dist.get_rank() if _is_distributed() else 0


def is_main_process() -> bool:
    """Return whether this is the process that logs and writes files."""
    return get_rank() == 0


def create_local_process_group(num_workers_per_machine: int) -> None:
    """Group the processes of each machine; to be called once in every process, after init.

    Args:
        num_workers_per_machine: processes per machine; consecutive ranks share a machine.

    Raises:
        RuntimeError: the groups exist already.
        ValueError: the number of processes is no multiple of `num_workers_per_machine`.
    """
    global _local_process_group
    if _local_process_group is not None:
        raise RuntimeError("The local process groups exist already.")
    world_size = get_world_size()
    if world_size % num_workers_per_machine:
        raise ValueError(
            f"{world_size} processes cannot be split into machines of {num_workers_per_machine}."
        )
    for first in range(0, world_size, num_workers_per_machine):
        ranks = list(range(first, first + num_workers_per_machine))
        # Every process has to take part in the creation of every group.
        group = dist.new_group(ranks)
        if get_rank() in ranks:
            _local_process_group = cast(dist.ProcessGroup, group)


def get_local_process_group() -> dist.ProcessGroup:
    """Return the group of the processes on this machine.

    Raises:
        RuntimeError: `create_local_process_group` has not been called.
    """
    if _local_process_group is None:
        raise RuntimeError(
            "There is no local process group: start the processes with `launch`, or call"
            " create_local_process_group after init_process_group."
        )
    return _local_process_group


def get_local_rank() -> int:
    """Return this process's number among those of its machine."""
    return dist.get_rank(group=get_local_process_group()) if _is_distributed() else 0


def get_local_size() -> int:
    """Return the number of processes on this machine."""
    return dist.get_world_size(group=get_local_process_group()) if _is_distributed() else 1


def synchronize() -> None:
    """Wait until every process has come to this call."""
    if get_world_size() == 1:
        return
    if dist.get_backend() == dist.Backend.NCCL:
        dist.barrier(device_ids=[torch.cuda.current_device()])
    else:
        dist.barrier()


@functools.lru_cache
def _gloo_twin_of_world() -> dist.ProcessGroup:
    return cast(dist.ProcessGroup, dist.new_group(backend="gloo"))


def _group_for_objects(group: dist.ProcessGroup | None) -> dist.ProcessGroup | None:
    """Pickled objects travel over gloo: NCCL would need room for them on the GPU."""
    if group is None and dist.get_backend() == dist.Backend.NCCL:
        return _gloo_twin_of_world()
    return group


def all_gather(data: Any, group: dist.ProcessGroup | None = None) -> list[Any]:
    """Collect an object that can be pickled from every process.

    Args:
        data: this process's object.
        group: the processes that take part; None for all.

    Returns:
        The objects, ordered by rank, in every process.
    """
    if get_world_size() == 1:
        return [data]
    group = _group_for_objects(group)
    gathered: list[Any] = [None] * dist.get_world_size(group)
    dist.all_gather_object(gathered, data, group=group)
    return gathered


def gather(data: Any, dst: int = 0, group: dist.ProcessGroup | None = None) -> list[Any]:
    """Collect an object that can be pickled from every process in one of them.

    Args:
        data: this process's object.
        dst: rank of the process that receives.
        group: the processes that take part; None for all.

    Returns:
        On `dst` the objects ordered by rank, elsewhere an empty list.
    """
    if get_world_size() == 1:
        return [data]
    group = _group_for_objects(group)
    if dist.get_rank() != dst:
        dist.gather_object(data, None, dst=dst, group=group)
        return []
    gathered: list[Any] = [None] * dist.get_world_size(group)
    dist.gather_object(data, gathered, dst=dst, group=group)
    return gathered


def shared_random_seed() -> int:
    """Return a random number in [0, 2**31) that is the same in every process.

    It is drawn from numpy's global generator: seeding that makes it repeatable. Every process has
    to make the call.
    """
    return all_gather(int(np.random.randint(2**31)))[0]


@torch.no_grad()
def reduce_dict(
    input_dict: dict[str, torch.Tensor], average: bool = True
) -> dict[str, torch.Tensor]:
    """Add up, or average, the scalars of all processes; the result is complete on rank 0 only.

    Args:
        input_dict: scalar tensors on one device; the same keys in every process.
        average: divide by the number of processes.
    """
    world_size = get_world_size()
    if world_size == 1:
        return input_dict
    names = sorted(input_dict)
    values = torch.stack([input_dict[name] for name in names])
    dist.reduce(values, dst=0)
    if average and is_main_process():
        values /= world_size
    return dict(zip(names, values, strict=True))
