"""Starts the processes of a run, on GPUs or on the CPU."""

import argparse
import datetime
import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing

from dyhead.d2.engine import launch as launch_processes
from dyhead.d2.utils import comm
from dyhead.engine.arguments import load_run_config
from dyhead.engine.devices import plan_devices
from dyhead.engine.stops import INTERRUPTED, STOP_SIGNALS, Stopped, exit_status
from dyhead.errors import UserError
from dyhead.process_group import end_process, leave_process_group

Main = Callable[[argparse.Namespace], Any]

# As of Detectron2's launch. PyTorch's own ten minutes with NCCL would end a run whose main process
# computes the scores of a large data set for longer, while the others wait.
_TIMEOUT = datetime.timedelta(minutes=30)
_TORCHRUN_VARIABLES = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
_GPUS_VARIABLE = "CUDA_VISIBLE_DEVICES"


def launch(main: Main, args: argparse.Namespace) -> None:
    """Run `main(args)` in as many processes as the command line asks for.

    Detectron2's `launch` starts them, on GPUs (NCCL) or on the CPU (gloo); under `torchrun` (known
    by its environment variables) they already exist and only join each other.

    Raises:
        UserError: the config or the options cannot be used.
        Stopped: a signal stopped the run in good order.
    """
    if args.num_machines > 1 and "://" not in args.dist_url:
        raise UserError("--dist-url is needed with --num-machines: tcp://<first machine>:<port>.")
    if not 0 <= args.machine_rank < args.num_machines:
        raise UserError(
            f"--machine-rank {args.machine_rank} of --num-machines {args.num_machines}: machines"
            " are counted from 0."
        )
    cfg, explicit_keys = load_run_config(args)
    plan = plan_devices(cfg.MODEL.DEVICE, "MODEL.DEVICE" in explicit_keys, args.num_gpus)
    if all(variable in os.environ for variable in _TORCHRUN_VARIABLES):
        _join_torchrun(plan.device, os.environ)
        _run_as_one_of_several(main, args)
        return
    # All processes of a CPU run share its cores; each would take them all for itself.
    num_threads = max(1, torch.get_num_threads() // plan.num_processes)
    is_group = plan.num_processes * args.num_machines > 1  # also with one process on each machine
    is_cpu_group = plan.device == "cpu" and is_group
    with _without_gpus() if is_cpu_group else nullcontext(), forwarding(is_group):
        launch_processes(
            _run,
            plan.num_processes,
            num_machines=args.num_machines,
            machine_rank=args.machine_rank,
            dist_url=args.dist_url,
            args=(main, args, num_threads),
        )


@contextmanager
def _without_gpus() -> Iterator[None]:
    """Hide the GPUs from processes that are started meanwhile.

    Detectron2's `launch` takes NCCL wherever it sees one, and NCCL cannot serve the CPU.
    """
    before = os.environ.get(_GPUS_VARIABLE)
    os.environ[_GPUS_VARIABLE] = ""
    try:
        yield
    finally:
        del os.environ[_GPUS_VARIABLE]
        if before is not None:
            os.environ[_GPUS_VARIABLE] = before


def _run(main: Main, args: argparse.Namespace, num_threads: int) -> None:
    """Run `main(args)` in one of the processes, or in the only one, which is this."""
    if comm.get_world_size() == 1:
        main(args)
        return
    if dist.get_backend() == "gloo":
        torch.set_num_threads(num_threads)
    _run_as_one_of_several(main, args)


def _run_as_one_of_several(main: Main, args: argparse.Namespace) -> None:
    try:
        main(args)
    except Stopped as stop:
        end_process(int(stop.code or 0))
    except KeyboardInterrupt:
        end_process(INTERRUPTED)
    leave_process_group()


@contextmanager
def forwarding(is_needed: bool) -> Iterator[None]:
    """Pass the signals that stop a training on to the processes that this one has started.

    Args:
        is_needed: there will be such processes; otherwise nothing is done.

    Raises:
        Stopped: a signal came, and not all processes came to their end.
    """
    if not is_needed or os.name != "posix":  # on Windows a console reaches all of them itself
        yield
        return
    received: list[int] = []

    def forward(number: int, _: Any) -> None:
        received.append(number)
        for child in multiprocessing.active_children():
            with suppress(ProcessLookupError):
                os.kill(child.pid or 0, number)

    before = {number: signal.signal(number, forward) for number in STOP_SIGNALS}
    try:
        yield
    except torch.multiprocessing.ProcessExitedException as error:
        if not received:
            raise
        raise Stopped(exit_status(received[0])) from error
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


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
    dist.init_process_group("nccl" if is_on_gpu else "gloo", timeout=_TIMEOUT)
    comm.create_local_process_group(int(environment["LOCAL_WORLD_SIZE"]))
    comm.synchronize()
