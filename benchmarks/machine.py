"""Describes the machine of a measurement, without which its numbers mean nothing.

python benchmarks/machine.py --device cuda
"""

import argparse
import datetime
import importlib
import logging
import os
import platform
import shutil
from pathlib import Path
from typing import Any

import torch
import torchvision

import dyhead
from dyhead.info.devices import driver_version
from dyhead.info.packages import find_version
from dyhead.ops import BACKENDS, choose_backend
from dyhead.ops.backends import why_not
from dyhead.safe_io.json_text import strict_json

FLAGS = ("avx2", "avx512f", "avx512_bf16", "amx_tile", "amx_bf16", "asimd", "bf16")


def describe_machine(device: torch.device) -> dict[str, str | int]:
    """Describe processor, versions and the automatically chosen back end."""
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
        described |= _describe_gpu(device)
    return described


def _describe_gpu(device: torch.device) -> dict[str, str | int]:
    properties = torch.cuda.get_device_properties(device)
    return {
        "gpus": torch.cuda.device_count(),
        "gpu memory, MB": properties.total_memory // 10**6,
        "compute capability": f"{properties.major}.{properties.minor}",
        "multiprocessors": properties.multi_processor_count,
        "driver": driver_version() or "unknown",
        "cuda": str(torch.version.cuda),
        "cudnn": str(torch.backends.cudnn.version()),
        "triton": find_version("triton") or "not installed",
    }


def describe_backends(device: torch.device) -> dict[str, str]:
    """Describe each back end: "serves", or the reason why it does not serve `device`."""
    return {name: why_not(name, device) or "serves" for name in BACKENDS}


def describe_tools(device: torch.device) -> dict[str, str]:
    """Describe the back end of a block's fused passes, and Triton's compiler."""
    by_triton = importlib.import_module("dyhead.ops.triton.branch_mix").serves(device)
    compilers = [os.environ.get("CC"), "gcc", "clang"]
    found = [path for name in compilers if name and (path := shutil.which(name))]
    return {
        "passes of fused blocks": "triton" if by_triton else "plain PyTorch",
        "C compiler": found[0] if found else "none, which Triton needs",
    }


def _processor() -> tuple[str, set[str]]:
    """Return the processor's name and instruction sets."""
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


def main(arguments: list[str] | None = None) -> None:
    """Print the description, and write it as json where --output names a file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", type=torch.device, default=torch.device("cpu"))
    parser.add_argument("--output", type=Path, help="json file to write")
    args = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO)  # a failed self-check says why
    if args.device.type == "cuda" and not torch.cuda.is_available():
        raise SystemExit(
            f"PyTorch {torch.__version__}, built for CUDA {torch.version.cuda}, sees no GPU;"
            f" driver: {driver_version() or 'unknown'}."
        )
    facts: dict[str, Any] = {**describe_machine(args.device), **describe_tools(args.device)}
    facts["back ends"] = describe_backends(args.device)
    text = strict_json(facts, indent=1)
    print(text)
    if args.output is not None:
        args.output.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
