"""Starting a training on several processes."""

import datetime
import logging
import os
import socket
import sys
from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from ..utils import comm

__all__ = ["DEFAULT_TIMEOUT", "launch"]

DEFAULT_TIMEOUT = datetime.timedelta(minutes=30)

logger = logging.getLogger("detectron2.engine.launch")


def launch(
    main_func: Callable[..., Any],
    num_gpus_per_machine: int,
    num_machines: int = 1,
    machine_rank: int = 0,
    dist_url: str | None = None,
    args: tuple[Any, ...] = (),
    timeout: datetime.timedelta = DEFAULT_TIMEOUT,
) -> None:
    """Run `main_func(*args)` in several processes that can communicate, or in this one alone.

    Args:
        main_func: importable by name, since processes are started afresh.
        num_gpus_per_machine: processes on each machine: one for each GPU (NCCL), or on a machine
            without GPUs any number (gloo).
        num_machines: every one of them has to make this call.
        machine_rank: this machine's number, from 0.
        dist_url: where the processes meet, such as "tcp://127.0.0.1:8686"; "auto" finds a free port
            on a single machine.
        args: arguments of `main_func`.
        timeout: of the communication.

    Raises:
        ValueError: "auto" on several machines, or fewer GPUs than processes.
        torch.multiprocessing.ProcessRaisedException: `main_func` failed in some process; the
            others have been stopped.
    """
    world_size = num_machines * num_gpus_per_machine
    if world_size <= 1:
        main_func(*args)
        return
    num_gpus = torch.cuda.device_count()
    if 0 < num_gpus < num_gpus_per_machine:
        raise ValueError(f"--num-gpus {num_gpus_per_machine}, but this machine has {num_gpus}.")
    mp.start_processes(
        _run_worker,
        nprocs=num_gpus_per_machine,
        args=(
            main_func,
            world_size,
            num_gpus_per_machine,
            machine_rank,
            _meeting_place(dist_url, num_machines),
            args,
            timeout,
        ),
        daemon=False,
    )


def _meeting_place(dist_url: str | None, num_machines: int) -> str | None:
    if num_machines > 1:
        if dist_url == "auto":
            raise ValueError("--dist-url auto works on one machine only: give tcp://HOST:PORT.")
        if dist_url is not None and dist_url.startswith("file://"):
            logger.warning("file:// is not reliable between machines: prefer tcp://HOST:PORT.")
    return f"tcp://127.0.0.1:{_find_free_port()}" if dist_url == "auto" else dist_url


def _find_free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as listener:
        listener.bind(("127.0.0.1", 0))  # port 0: the system chooses
        return listener.getsockname()[1]


def _run_worker(
    local_rank: int,
    main_func: Callable[..., Any],
    world_size: int,
    num_processes: int,
    machine_rank: int,
    dist_url: str | None,
    args: tuple[Any, ...],
    timeout: datetime.timedelta,
) -> None:
    has_gpu = torch.cuda.is_available()
    if has_gpu:
        torch.cuda.set_device(local_rank)
    else:
        # The processes share the cores; each would take them all.
        torch.set_num_threads(max(1, torch.get_num_threads() // num_processes))
    try:
        dist.init_process_group(
            backend="nccl" if has_gpu else "gloo",
            init_method=dist_url,
            world_size=world_size,
            rank=machine_rank * num_processes + local_rank,
            timeout=timeout,
        )
    except Exception:
        logger.error("The processes cannot meet at %s.", dist_url)
        raise
    comm.create_local_process_group(num_processes)
    comm.synchronize()  # all are here before the timeout of the first real exchange starts
    main_func(*args)
    _leave_group()


def _leave_group() -> None:
    """Leave the other processes: on the CPU by ending this one at once, with success.

    On some releases of PyTorch taking gloo's process group down now and then hangs or aborts, so
    that a training that is complete would be reported as failed, or never.
    """
    if dist.get_backend() != "gloo":
        dist.destroy_process_group()
        return
    comm.synchronize()  # nobody waits for this process any more
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)
