"""Describes the devices that PyTorch can compute on."""

import os
import platform
import shutil
import subprocess
from typing import Any


def describe_devices() -> dict[str, Any]:
    """Describe the CPU and every GPU with its memory, or the reason why there is none."""
    import torch

    devices: dict[str, Any] = {"cpu": _describe_cpu()}
    for index in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
        devices[f"cuda:{index}"] = _describe_gpu(index)
    if torch.backends.mps.is_available():
        devices["mps"] = {"name": "Apple GPU"}
    if len(devices) == 1:
        devices["gpu"] = _why_no_gpu()
    return devices


def _describe_cpu() -> dict[str, Any]:
    import torch

    return {
        "name": _cpu_name(),
        "cores": os.cpu_count(),
        "threads of PyTorch": torch.get_num_threads(),
        "vector instructions": torch.backends.cpu.get_cpu_capability(),
    }


def _cpu_name() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:
            named = (line.partition(":")[2] for line in lines if line.startswith("model name"))
            return next(named, "").strip() or platform.machine()
    except OSError:
        return platform.processor() or platform.machine()


def _describe_gpu(index: int) -> dict[str, Any]:
    import torch

    properties = torch.cuda.get_device_properties(index)
    free, total = torch.cuda.mem_get_info(index)
    return {
        "name": properties.name,
        "memory": f"{total / 2**30:.1f} GiB, {free / 2**30:.1f} GiB free",
        "compute capability": f"{properties.major}.{properties.minor}",
        "runtime": f"CUDA {torch.version.cuda}" if torch.version.cuda else f"ROCm {_rocm()}",
        "driver": driver_version() or "unknown",
    }


def _rocm() -> str:
    import torch

    return str(getattr(torch.version, "hip", None))


def _why_no_gpu() -> str:
    import torch

    if torch.version.cuda is None and getattr(torch.version, "hip", None) is None:
        return f"none: PyTorch {torch.__version__} is built for CPUs alone"
    if driver := driver_version():
        return (
            f"none: PyTorch finds no GPU beside the driver {driver} (is CUDA_VISIBLE_DEVICES"
            f" empty, or the driver too old for CUDA {torch.version.cuda}?)"
        )
    return "none: there is no driver of NVIDIA (nvidia-smi does not run)"


def driver_version() -> str:
    """Return the version of NVIDIA's driver, or "" without one."""
    if not (program := shutil.which("nvidia-smi")):
        return ""
    command = [program, "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.partition("\n")[0].strip() if done.returncode == 0 else ""
