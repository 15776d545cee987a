"""Starts the processes of a run, on GPUs or on the CPU."""

import argparse
import logging
import os
import socket
import sys
from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from dyhead.d2.engine import launch as launch_on_gpus
from dyhead.d2.utils import comm
from dyhead.engine.devices import plan_devices
from dyhead.engine.run_config import load_run_config
from dyhead.errors import UserError

_TORCHRUN_VARIABLES = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")


def launch(main: Callable[[argparse.Namespace], Any], args: argparse.Namespace) -> None:
    """Run `main(args)` in as many processes as the command line asks for.

    GPUs are served by Detectron2's `launch`; several CPU processes talk over gloo; under `torchrun`
    (known by its environment variables) the processes already exist and only join each other.

    Raises:
        UserError: the config or the options cannot be used.
    """
    if args.num_machines > 1 and "://" not in args.dist_url:
        raise UserError("--dist-url is needed with --num-machines: tcp://<first machine>:<port>.")
    if not 0 <= args.machine_rank < args.num_machines:
        raise UserError(
            f"--machine-rank {args.machine_rank} of --num-machines {args.num_machines}: machines"
            " are counted from 0."
        )
    cfg, explicit_keys = load_run_config(args)
    device = cfg.MODEL.DEVICE
    plan = plan_devices(device, "MODEL.DEVICE" in explicit_keys, args.num_gpus)
    if all(variable in os.environ for variable in _TORCHRUN_VARIABLES):
        _join_torchrun(plan.device, os.environ)
        main(args)
        _leave_group()
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


def _find_free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])
