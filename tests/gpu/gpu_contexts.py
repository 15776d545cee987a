"""Contexts in which detectors compute: with another back end, with exact products."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
from gpu_cases import IS_REAL

from dyhead.engine.precision import set_float32_precision
from dyhead.ops.backends import BACKEND_VARIABLE
from dyhead.ops.cpp import extension

# Kernels take long in Triton's interpreter: there most detectors get another back end.
DEVICE_BACKEND = "triton" if IS_REAL else "torchvision"
REFERENCE_BACKEND = "pytorch"


@contextmanager
def backend(name: str) -> Iterator[None]:
    """Within the context a back end computes deformable convolutions, and C++ computes nothing.

    It would have to be compiled for minutes first.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(BACKEND_VARIABLE, name)
        patch.setattr(extension, "load", lambda: False)
        yield


@contextmanager
def exact_products() -> Iterator[None]:
    """Within the context float32 is multiplied as float32: TF32 differs from a CPU by 1e-3."""
    before = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    set_float32_precision("highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before[0])
        torch.backends.cudnn.allow_tf32 = before[1]
