"""The device that the tests of this folder run on, their sizes there, and how exact results are."""

import importlib.util
import itertools
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from dyhead.ops.triton.self_check import is_interpreted

DEVICE = torch.device("cpu" if is_interpreted() else "cuda")
IS_REAL = DEVICE.type == "cuda"

# What a DyHead block meets: channels, and levels P3 to P7 of an image of 800 x 1344 pixels.
CHANNELS = 256 if IS_REAL else 32
IMAGE = (800, 1344) if IS_REAL else (32, 48)
ODD_IMAGE = (477, 643) if IS_REAL else (51, 37)
FLAT_IMAGE = (8, 2000) if IS_REAL else (5, 90)  # one row on every level
BATCHES = (1, 4) if IS_REAL else (1, 2)

DTYPES = (torch.float32, torch.bfloat16, torch.float16)

# Image, batch and type that kernels are compared on. A type's cases share what is compiled, but for
# the image of one row.
_EVERY_KERNEL_CASE = [
    *itertools.product([IMAGE], BATCHES, DTYPES),
    *itertools.product([ODD_IMAGE, FLAT_IMAGE], BATCHES[:1], DTYPES[:2]),
]
_FEW_KERNEL_CASES = [
    (IMAGE, BATCHES[1], torch.float32),
    (ODD_IMAGE, BATCHES[0], torch.bfloat16),
    (FLAT_IMAGE, BATCHES[0], torch.float16),
]
KERNEL_CASES = _EVERY_KERNEL_CASE if IS_REAL else _FEW_KERNEL_CASES

# How far results may be from float64, by norm. What stays in float32 differs by the order of its
# sums; a tensor core multiplies float32 as three products of TF32 parts. With a single one it would
# be wrong by 3e-4, so that this would be noticed.
EXACT = 1e-4 if IS_REAL else 5e-6
# What is multiplied or kept in 16 bits is rounded; the interpreter cuts bfloat16 off instead.
ROUNDED = {torch.float32: EXACT, torch.bfloat16: 4e-3 if IS_REAL else 8e-3, torch.float16: 5e-4}
# A single value may be as many times further from float64, in parts of the largest one.
OF_ONE_VALUE = 5

MEASURED: dict[str, float] = {}  # the largest error of everything that was compared


def why_not() -> str:
    """The reason why nothing can run here, or ""."""
    if importlib.util.find_spec("triton") is None:
        return "Triton is not installed"
    if IS_REAL and not torch.cuda.is_available():
        return "there is no CUDA device (TRITON_INTERPRET=1 runs these tests small on the CPU)"
    return ""


def level_sizes(image: tuple[int, int]) -> list[tuple[int, int]]:
    """Height and width of P3 to P7 of an image; in the interpreter of P3 to P5."""
    last = 7 if IS_REAL else 5
    return [(-(-image[0] // 2**level), -(-image[1] // 2**level)) for level in range(3, last + 1)]


def normals(seed: int) -> Callable[..., Tensor]:
    """A function that draws normal numbers of any shape, the same ones for every device."""
    generator = torch.Generator().manual_seed(seed)
    return lambda *shape: torch.randn(shape, generator=generator).to(DEVICE)


def requested_bytes() -> int:
    """Bytes of all tensors on the GPU.

    `torch.cuda.memory_allocated` counts the blocks that hold them instead. One may be a megabyte
    larger than its tensor, and another block holds the tensor of the next step.
    """
    return torch.cuda.memory_stats()["requested_bytes.all.current"]


def assert_near(
    name: str, values: Sequence[Tensor], exact: Sequence[Tensor], tolerance: float
) -> None:
    """Compare tensors with what they should be, each by its norm and at its worst value.

    Args:
        name: under which the report of the run tells the largest error.
        values: of any type and device.
        exact: the same in float64.
        tolerance: of the norm of a difference, by the norm of what is exact.
    """
    for index, (value, expected) in enumerate(zip(values, exact, strict=True)):
        by_norm, of_one = _errors(value, expected)
        MEASURED[name] = max(MEASURED.get(name, 0.0), by_norm)
        assert by_norm <= tolerance, f"{name} {index}: {by_norm:.1e} by norm, not {tolerance:.1e}"
        assert of_one <= OF_ONE_VALUE * tolerance, f"{name} {index}: {of_one:.1e} at its worst"


def _errors(value: Tensor, exact: Tensor) -> tuple[float, float]:
    """The difference by norm and at its worst, both relative; absolute where zero is exact."""
    assert value.shape == exact.shape
    if not exact.numel():
        return 0.0, 0.0
    exact = exact.detach().double()
    difference = value.detach().to(exact) - exact
    norm, largest = exact.norm().item(), exact.abs().max().item()
    return difference.norm().item() / (norm or 1), difference.abs().max().item() / (largest or 1)
