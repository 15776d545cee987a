"""The device that a run computes on, and its number of processes."""

from typing import NamedTuple

import torch

from dyhead.errors import UserError


class DevicePlan(NamedTuple):
    """The device that a run computes on, and its number of processes."""

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
        UserError: `num_gpus` is negative, or larger than the number of GPUs of this machine, or
            PyTorch knows no such device.
    """
    try:
        torch.device(device)
    except RuntimeError as error:
        raise UserError(
            f"MODEL.DEVICE {device!r} is unknown to PyTorch: use cuda or cpu."
        ) from error
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
            " trains with N CPU processes on the embedded host).",
        )
    if (torch.device(device).index or 0) >= num_gpus_present:
        raise UserError(
            f"MODEL.DEVICE {device!r}, but this machine has {num_gpus_present} GPUs, counted from"
            f" 0: use cuda:{num_gpus_present - 1} or less."
        )
    if num_gpus > num_gpus_present:
        raise UserError(f"--num-gpus {num_gpus}, but this machine has {num_gpus_present}.")
    return DevicePlan(device, num_gpus, "")
