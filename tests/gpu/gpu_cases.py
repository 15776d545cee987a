"""The device that the tests of this folder run on, their sizes there, and their tolerances."""

import importlib.util

import torch
from torch import Tensor

from dyhead.ops.triton_check import is_interpreted

DEVICE = torch.device("cpu" if is_interpreted() else "cuda")
IS_REAL = DEVICE.type == "cuda"

# What a DyHead block meets: channels, and levels P3 to P7 of an image of 800 x 1344 pixels.
CHANNELS = 256 if IS_REAL else 32
IMAGE = (800, 1344) if IS_REAL else (64, 88)
ODD_IMAGE = (477, 643) if IS_REAL else (51, 37)
FLAT_IMAGE = (8, 2000) if IS_REAL else (5, 90)  # one row on every level
BATCHES = (1, 4) if IS_REAL else (1, 2)

DTYPES = (torch.float32, torch.bfloat16, torch.float16)


def why_not() -> str:
    """Why nothing can run here, or ""."""
    if importlib.util.find_spec("triton") is None:
        return "Triton is not installed"
    if IS_REAL and not torch.cuda.is_available():
        return "there is no CUDA device (TRITON_INTERPRET=1 runs these tests small on the CPU)"
    return ""


def level_sizes(image: tuple[int, int]) -> list[tuple[int, int]]:
    """Height and width of P3 to P7 of an image; in the interpreter of P3 to P5."""
    last = 7 if IS_REAL else 5
    return [(-(-image[0] // 2**level), -(-image[1] // 2**level)) for level in range(3, last + 1)]


def relative_error(value: Tensor, exact: Tensor) -> float:
    """The norm of the difference by the norm of what is exact, both in float64."""
    value, exact = value.detach().double().cpu(), exact.detach().double().cpu()
    assert value.shape == exact.shape
    norm = exact.norm().item()
    difference = (value - exact).norm().item()
    return difference / norm if norm else difference
