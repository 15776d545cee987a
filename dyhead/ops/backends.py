"""Which implementation of the deformable convolution runs.

A back end is a function
`deform_conv_by_<name>(input, offset, mask, weight, bias, stride, padding, dilation)`,
differentiable in all tensors; if it can run several convolutions at once, a function
`foreach_deform_conv_by_<name>` of a list of such arguments; if it can take the moments of what it
writes, `foreach_deform_conv_with_moments_by_<name>` of such a list and of levels' sizes; and beside
it
`gradients_by_<name>(grad_output, input, offset, mask, weight, stride, padding, dilation, needed)`,
which gives the five gradients. They get shapes that were checked; input, weight and bias of one
type, offset and mask in float32 (float64 for float64), since 16 bits cannot hold the coordinates of
pixels. They accumulate in float32 at least and answer in the types of their arguments.

| | serves |
| --- | --- |
| bags | everything: plain PyTorch |
| torchvision | CPU and CUDA; computes in float32 inside, also for 16-bit input |
| cpp | CPU: float32, bfloat16; compiled on first use, where there is a compiler |
| triton | CUDA: float32, bfloat16, float16 |
"""

import functools
import importlib
import logging
import os
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from dyhead.ops.triton.self_check import is_installed, is_interpreted

logger = logging.getLogger(__name__)

BACKEND_VARIABLE = "DYHEAD_DEFORM_CONV"
BACKENDS = ("bags", "torchvision", "cpp", "triton")

# Types that a back end has no kernel for go to "bags" on the CPU, to "torchvision" elsewhere.
_TYPES = {
    "cpp": (torch.float32, torch.bfloat16),
    "triton": (torch.float32, torch.bfloat16, torch.float16),
}
_MODULES = {
    "bags": "dyhead.ops.pytorch.embedding_bag",
    "torchvision": "dyhead.ops.torchvision",
    "cpp": "dyhead.ops.cpp.deform_conv",
    "triton": "dyhead.ops.triton.deform_conv",
}

_default_backend = ""
_logged: set[tuple[torch.device, str]] = set()


def set_default_backend(name: str) -> None:
    """Choose the back end for all calls that name none, where no environment variable does.

    Args:
        name: one of `BACKENDS`, or "" for the automatic choice.

    Raises:
        ValueError: there is no such back end.
    """
    global _default_backend
    if name:
        _check_name(name, "MODEL.DEFORM_CONV_BACKEND ")
    _default_backend = name


def choose_backend(
    device: torch.device, backend: str | None = None, dtype: torch.dtype = torch.float32
) -> str:
    """Name the back end that serves `device`, and log it once per device and choice.

    The argument wins over the environment variable DYHEAD_DEFORM_CONV, that over
    `set_default_backend` (the config key MODEL.DEFORM_CONV_BACKEND), and that over the automatic
    choice: on the CPU "cpp" where the extension is or can be built, on CUDA "triton" where it
    passes its self-check, else "torchvision"; "bags" wherever these are not to be had.

    Args:
        device: where the tensors are.
        backend: one of `BACKENDS`, or None.
        dtype: of the input; a type that the back end lacks is served by another one.

    Raises:
        ValueError: what was asked for is no back end, or cannot serve `device`.
    """
    name, origin = _requested(backend)
    if name:
        _check_name(name, origin)
        if reason := why_not(name, device):
            raise ValueError(f"{origin}{name!r} cannot be served: {reason}.")
    else:
        name, origin = _automatic(device), "chosen automatically"
    if dtype not in _TYPES.get(name, (dtype,)):
        name, origin = _substitute(device), f"{name} does not compute {dtype}"
    _log_once(device, name, origin)
    return name


@functools.cache
def implementation(name: str) -> Callable[[Sequence[tuple[Any, ...]]], list[Tensor]]:
    """The function of a back end that `choose_backend` gave, for any number of convolutions."""
    module = importlib.import_module(_MODULES[name])
    if together := getattr(module, f"foreach_deform_conv_by_{name}", None):
        return together
    function = getattr(module, f"deform_conv_by_{name}")
    return lambda calls: [function(*call) for call in calls]


@functools.cache
def implementation_with_moments(name: str) -> Callable[..., Any] | None:
    """The function of a back end behind `foreach_deform_conv_with_moments`, None without one."""
    module = importlib.import_module(_MODULES[name])
    return getattr(module, f"foreach_deform_conv_with_moments_by_{name}", None)


@functools.cache
def gradients(name: str) -> Callable[..., tuple[Tensor | None, ...]]:
    """The function behind a back end's backward pass, called as `gradients_by_bags` is."""
    return getattr(importlib.import_module(_MODULES[name]), f"gradients_by_{name}")


def _requested(backend: str | None) -> tuple[str, str]:
    """What was asked for, or "", and how it was written."""
    if backend:
        return backend, "backend="
    if from_variable := os.environ.get(BACKEND_VARIABLE):
        return from_variable, f"environment variable {BACKEND_VARIABLE}="
    return _default_backend, "MODEL.DEFORM_CONV_BACKEND "


def _check_name(name: str, origin: str) -> None:
    if name not in BACKENDS:
        raise ValueError(
            f"{origin}{name!r} names no deformable convolution: use one of {', '.join(BACKENDS)}."
        )


@functools.cache
def _automatic(device: torch.device) -> str:
    return next((name for name in preferred_backends(device) if not why_not(name, device)), "bags")


def preferred_backends(device: torch.device) -> tuple[str, ...]:
    """The back ends that the automatic choice tries on a device, before "bags"."""
    return {"cpu": ("cpp",), "cuda": ("triton", "torchvision")}.get(device.type, ())


def _substitute(device: torch.device) -> str:
    return "bags" if device.type == "cpu" or why_not("torchvision", device) else "torchvision"


@functools.cache
def why_not(name: str, device: torch.device) -> str:
    """Say why a back end cannot serve a device; "" where it can.

    Args:
        name: one of `BACKENDS`.
        device: a CUDA device without a number is the current one. Asking for "cpp" builds the
            extension.
    """
    if name == "cpp":
        return _why_not_cpp(device)
    if name == "triton":
        return _why_not_triton(device)
    if name == "torchvision" and device.type != "cpu" and not _served_by(name, device):
        return f"this torchvision was built without a kernel for {device.type}"
    return ""


def _why_not_cpp(device: torch.device) -> str:
    if device.type != "cpu":
        return f"the extension computes on the CPU, not on {device.type}"
    if os.environ.get("DYHEAD_CPP") == "0":
        return "the environment variable DYHEAD_CPP=0 turns the extension off"
    if not importlib.import_module("dyhead.ops.cpp.extension").load():
        return "the extension cannot be built here; it needs a C++ compiler (see the log)"
    return ""


def _why_not_triton(device: torch.device) -> str:
    if device.type != "cuda" and not (device.type == "cpu" and is_interpreted()):
        return f"Triton needs a CUDA device, not {device.type} (or TRITON_INTERPRET=1, for tests)"
    if not is_installed():
        return "Triton is not installed"
    if not _served_by("triton", device):
        return "Triton's kernels fail their self-check on this device (see the log)"
    return ""


def _served_by(name: str, device: torch.device) -> bool:
    return importlib.import_module(_MODULES[name]).serves(device)


def _log_once(device: torch.device, name: str, origin: str) -> None:
    if (device, name) not in _logged:
        _logged.add((device, name))
        logger.info("Deformable convolutions on %s: %s (%s)", device, name, origin.rstrip("= "))
