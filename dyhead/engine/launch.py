"""On which device a run trains, in how many processes, and how it ends on a user's error."""

import argparse
import logging
import os
import socket
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from dyhead.config import load_config
from dyhead.d2.engine import launch as launch_on_gpus
from dyhead.d2.utils import comm
from dyhead.errors import UserError

_TORCHRUN_VARIABLES = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")


class DevicePlan(NamedTuple):
    """Where a run computes."""

    device: str  # MODEL.DEVICE to set
    num_processes: int  # processes to start on this machine
    message: str  # one line for the log, or ""


def plan_devices(
    device: str, is_explicit: bool, num_gpus: int, num_gpus_present: int | None = None
) -> DevicePlan:
    """Decide the device and the number of processes.

    Args:
        device: MODEL.DEVICE.
        is_explicit: the config file or the command line sets MODEL.DEVICE.
        num_gpus: --num-gpus; 0 means the CPU.
        num_gpus_present: how many GPUs the machine has; None asks PyTorch.

    Raises:
        UserError: `num_gpus` is negative, or larger than the number of GPUs of this machine.
    """
    if num_gpus < 0:
        raise UserError(f"--num-gpus {num_gpus} is negative: 0 means the CPU.")
    if num_gpus == 0:
        return DevicePlan("cpu", 1, "")
    if num_gpus_present is None:
        num_gpus_present = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if is_explicit and device == "cpu":
        idle = f"MODEL.DEVICE is cpu: this machine's {num_gpus_present} GPUs are not used."
        return DevicePlan("cpu", num_gpus, idle if num_gpus_present else "")
    if not device.startswith("cuda"):
        return DevicePlan(device, 1, "")
    if num_gpus_present == 0:
        return DevicePlan(
            "cpu",
            1,
            "No GPU found: running on the CPU in one process (`MODEL.DEVICE cpu --num-gpus N`"
            " trains with N CPU processes).",
        )
    if num_gpus > num_gpus_present:
        raise UserError(f"--num-gpus {num_gpus}, but this machine has {num_gpus_present}.")
    return DevicePlan(device, num_gpus, "")


def launch(main: Callable[[argparse.Namespace], Any], args: argparse.Namespace) -> None:
    """Run `main(args)` in as many processes as the command line asks for.

    GPUs are served by Detectron2's `launch`; several CPU processes talk over gloo; under `torchrun`
    (known by its environment variables) the processes already exist and only join each other.

    Raises:
        UserError: the config or the options cannot be used.
    """
    if args.num_machines > 1 and args.dist_url == "auto":
        raise UserError("--dist-url is needed with --num-machines: tcp://<first machine>:<port>.")
    cfg, explicit_keys = load_config(args.config_file, args.opts)
    device = cfg.MODEL.DEVICE
    plan = plan_devices(device, "MODEL.DEVICE" in explicit_keys, args.num_gpus)
    if all(variable in os.environ for variable in _TORCHRUN_VARIABLES):
        _join_torchrun(plan.device, os.environ)
        try:
            main(args)
        finally:
            dist.destroy_process_group()
    elif plan.device == "cpu" and plan.num_processes * args.num_machines > 1:
        _launch_on_cpu(main, plan.num_processes, args)
    else:
        launch_on_gpus(
            main,
            plan.num_processes,
            num_machines=args.num_machines,
            machine_rank=args.machine_rank,
            dist_url=args.dist_url,
            args=(args,),
        )


@contextmanager
def exit_on_user_error() -> Iterator[None]:
    """End the program with one sentence and exit code 1 on errors that need no traceback here.

    These are `UserError`, and the FloatingPointError of a training that stopped itself, also when
    they come from a process that `launch` started.
    """
    try:
        yield
    except (UserError, FloatingPointError) as error:
        sys.exit(f"Error: {_last_sentence(error) or error}")
    except mp.ProcessRaisedException as error:
        if message := _last_sentence(error):
            sys.exit(f"Error: {message}")
        raise


def _last_sentence(error: Exception) -> str:
    """What a user's error says below the traceback of the process that it comes from, or ""."""
    for name in (f"{UserError.__module__}.{UserError.__name__}", "FloatingPointError"):
        _, found, message = str(error).rpartition(f"\n{name}: ")
        if found:
            return message.strip()
    return ""


def _join_torchrun(device: str, environment: Mapping[str, str]) -> None:
    is_on_gpu = device.startswith("cuda")
    if is_on_gpu:
        num_processes, num_gpus = int(environment["LOCAL_WORLD_SIZE"]), torch.cuda.device_count()
        if num_processes > num_gpus:
            raise UserError(
                f"torchrun started {num_processes} processes, but this machine has {num_gpus}"
                " GPUs: lower --nproc_per_node."
            )
        torch.cuda.set_device(int(environment["LOCAL_RANK"]))
    dist.init_process_group("nccl" if is_on_gpu else "gloo")
    comm.create_local_process_group(int(environment["LOCAL_WORLD_SIZE"]))
    comm.synchronize()


def _launch_on_cpu(
    main: Callable[[argparse.Namespace], Any], num_processes: int, args: argparse.Namespace
) -> None:
    # Detectron2's launch takes NCCL wherever there is a GPU, and NCCL cannot serve the CPU.
    url = args.dist_url
    if url == "auto":
        url = f"tcp://127.0.0.1:{_find_free_port()}"
    mp.start_processes(
        _run_on_cpu, nprocs=num_processes, args=(main, num_processes, url, args), daemon=False
    )


def _run_on_cpu(
    local_rank: int,
    main: Callable[[argparse.Namespace], Any],
    num_processes: int,
    url: str,
    args: argparse.Namespace,
) -> None:
    # every process would take all cores for itself
    torch.set_num_threads(max(1, torch.get_num_threads() // num_processes))
    dist.init_process_group(
        "gloo",
        init_method=url,
        world_size=num_processes * args.num_machines,
        rank=num_processes * args.machine_rank + local_rank,
    )
    comm.create_local_process_group(num_processes)
    comm.synchronize()
    main(args)
    dist.destroy_process_group()
    _leave()


def _leave() -> None:
    """End this process at once, with success.

    On some releases of PyTorch a thread of gloo now and then outlives the process group and aborts
    the interpreter's orderly end, which would report a training that is complete as failed.
    """
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


def _find_free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])
