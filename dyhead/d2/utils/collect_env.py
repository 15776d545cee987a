"""A description of the machine and the versions, for the log of a run."""

import importlib.metadata
import os
import platform
import sys

import torch
from tabulate import tabulate

PACKAGES = (
    "torchvision",
    "numpy",
    "fvcore",
    "iopath",
    "pycocotools",
    "timm",
    "Pillow",
    "matplotlib",
    "tensorboard",
)
VARIABLES = ("CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS", "DETECTRON2_DATASETS", "DYHEAD_HOST")


def collect_env_info() -> str:
    """Return a table of the platform, versions, GPUs and environment variables that matter."""
    rows = [
        ("system", platform.platform()),
        ("Python", sys.version.replace("\n", " ")),
        ("CPU cores", str(os.cpu_count())),
        ("Detectron2 host", "embedded"),
        ("PyTorch", f"{torch.__version__} @ {os.path.dirname(torch.__file__)}"),
        ("PyTorch threads", str(torch.get_num_threads())),
        *_gpus(),
        *((package, _version(package)) for package in PACKAGES),
        *((name, os.environ[name]) for name in VARIABLES if name in os.environ),
    ]
    return tabulate(rows)


def _gpus() -> list[tuple[str, str]]:
    if not torch.cuda.is_available():
        return [("GPU available", "False")]
    names = [(f"GPU {i}", torch.cuda.get_device_name(i)) for i in range(torch.cuda.device_count())]
    return [("GPU available", "True"), ("CUDA", str(torch.version.cuda)), *names]


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"
