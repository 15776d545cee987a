"""What a measurement ran on: without it, its numbers mean nothing."""

import datetime
import os
import platform
from pathlib import Path

import torch
import torchvision

import dyhead
from dyhead.ops import choose_backend

FLAGS = ("avx2", "avx512f", "avx512_bf16", "amx_tile", "amx_bf16", "asimd", "bf16")


def describe_machine(device: torch.device) -> dict[str, str | int]:
    """Processor, versions and the back end that is chosen by itself."""
    model, flags = _processor()
    described: dict[str, str | int] = {
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "processor": model,
        "instructions": " ".join(flag for flag in FLAGS if flag in flags),
        "cores": _cores(),
        "threads": torch.get_num_threads(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "torch": torch.__version__,
        "torchvision": torchvision.__version__,
        "dyhead": dyhead.__version__,
        "automatic back end": choose_backend(device),
        "date": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d"),
    }
    if device.type == "cuda":
        described["cuda"] = str(torch.version.cuda)
    return described


def _processor() -> tuple[str, set[str]]:
    """Name and instruction sets."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine(), set()
    facts = dict(line.split(":", 1) for line in reversed(lines) if ":" in line)
    facts = {key.strip().lower(): value.strip() for key, value in facts.items()}
    name = facts.get("model name") or platform.machine()
    if "cpu family" in facts:
        name += f" (family {facts['cpu family']}, model {facts.get('model', '?')})"
    return name, set((facts.get("flags") or facts.get("features") or "").split())


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
