"""The self-check of Triton on a device: its kernels are tried on tiny tensors before they serve."""

import functools
import importlib.util
import logging
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor

logger = logging.getLogger(__name__)

# What kernels give on a device for a data type, and what plain PyTorch gives in float32.
Outcomes = Callable[[torch.device, torch.dtype], tuple[Sequence[Tensor], Sequence[Tensor]]]


def passes_check(device: torch.device, outcomes: Outcomes, instead: str) -> bool:
    """Tell if kernels work on `device`: tried once, then remembered.

    False, with one warning in the log, where Triton is missing or does not work: it compiles on
    first use and needs a working C compiler for that. False without a warning on other devices;
    Triton's interpreter (TRITON_INTERPRET=1) serves CPU, for tests.

    Args:
        device: a CUDA device without a number is the current one.
        outcomes: a function of a module.
        instead: what the warning says will be used: "The passes of fused blocks use plain PyTorch".
    """
    if device.type != "cuda" and not (device.type == "cpu" and is_interpreted()):
        return False
    if device.type == "cuda" and device.index is None:
        if not torch.cuda.is_available():
            return False
        device = torch.device("cuda", torch.cuda.current_device())
    return _passes(device, outcomes, instead)


def is_interpreted() -> bool:
    """Tell if Triton's interpreter runs its kernels."""
    return os.environ.get("TRITON_INTERPRET", "0") == "1"


def values(*shapes: Sequence[int]) -> list[Tensor]:
    """Make tensors of numbers between -1 and 1 that look random, and are always the same."""
    steps = torch.linspace(0.29, 0.71, len(shapes))
    return [
        (torch.arange(torch.Size(shape).numel(), dtype=torch.float32) * step).sin().view(shape)
        for shape, step in zip(shapes, steps.tolist(), strict=True)
    ]


@functools.cache
def _passes(device: torch.device, outcomes: Outcomes, instead: str) -> bool:
    reason = _reason_against(device, outcomes)
    if reason:
        logger.warning("%s instead of Triton on %s: %s", instead, device, reason)
    return not reason


def _reason_against(device: torch.device, outcomes: Outcomes) -> str:
    """Say why the kernels cannot serve `device`; empty if they can."""
    if not is_installed():
        return "Triton is not installed."
    try:
        if device.type == "cuda" and torch.cuda.get_device_capability(device) < (8, 0):
            return "it needs compute capability 8.0."
        for dtype in (torch.float32, torch.bfloat16):
            # In a thread of its own, which shares no mode of the caller's: neither inference nor
            # autocast, nor hooks on saved tensors, as activation checkpointing has, nor the current
            # stream, on which nothing would wait for what was computed there.
            with ThreadPoolExecutor(max_workers=1) as thread:
                agree = thread.submit(_agree, outcomes, device, dtype).result()
            if not agree:
                return f"its {dtype} results differ from those of plain PyTorch."
    except torch.OutOfMemoryError:
        raise  # says nothing about the kernels
    except Exception as error:  # whatever goes wrong in a compiler: there is another back end
        logger.debug("Triton's self-check failed.", exc_info=True)
        return f"its self-check failed with {type(error).__name__}: {error}"
    return ""


def is_installed() -> bool:
    """Tell if Triton can be imported."""
    return importlib.util.find_spec("triton") is not None


def _agree(outcomes: Outcomes, device: torch.device, dtype: torch.dtype) -> bool:
    ours, expected = outcomes(device, dtype)
    tolerance = 5e-3 if dtype == torch.float32 else 2e-2  # TF32 may be allowed
    return all(
        mine.shape == other.shape
        and bool((mine.float() - other).abs().max() <= tolerance * other.abs().max())
        for mine, other in zip(ours, expected, strict=True)
    )
