"""A variant ends where its context does."""

import os

import torch
from variants import Variant

from dyhead.ops import choose_backend
from dyhead.ops.cpp import extension

CPU = torch.device("cpu")


def test_variants_leave_no_trace() -> None:
    """ "pytorch" stands for a machine without a compiler; precision and back end end with it."""
    before = extension.load(), torch.get_float32_matmul_precision(), dict(os.environ)
    with Variant("fused", "pytorch", "bfloat16").active(CPU):
        assert not extension.load()
        assert choose_backend(CPU) == "pytorch"
        assert torch.is_autocast_enabled("cpu")
    with Variant("fused", "torchvision", "bf16x3").active(CPU):
        assert choose_backend(CPU) == "torchvision"
        assert torch.get_float32_matmul_precision() == "high"
    assert (extension.load(), torch.get_float32_matmul_precision(), dict(os.environ)) == before
