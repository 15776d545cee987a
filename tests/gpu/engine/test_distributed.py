"""Two processes, with DyHead blocks, give the losses and gradients of one that has all images."""

from pathlib import Path

import pytest
import torch
from closeness import assert_same_gradients
from distributed_processes import results_of_two_and_one
from gpu_cases import IS_REAL
from gpu_contexts import DEVICE_BACKEND

from dyhead.ops.backends import BACKEND_VARIABLE

NUM_GPUS = torch.cuda.device_count() if IS_REAL else 0
TWO_GPUS = pytest.mark.skipif(NUM_GPUS < 2, reason=f"NCCL needs two GPUs, here are {NUM_GPUS}")


@pytest.mark.skipif(not torch.distributed.is_available(), reason="torch without distributed")
@pytest.mark.parametrize("backend", ["gloo", pytest.param("nccl", marks=TWO_GPUS)])
def test_two_processes_equal_one(backend: str, tmp_path: Path) -> None:
    """Over gloo both share the first device, so one GPU is enough."""
    devices = ["cuda:0", "cuda:1" if backend == "nccl" else "cuda:0"] if IS_REAL else ["cpu"] * 2
    variables = {BACKEND_VARIABLE: DEVICE_BACKEND, "DYHEAD_CPP": "0"}
    options = {"num_blocks": 1, "variables": variables, "timeout": 100}
    two, one = results_of_two_and_one(tmp_path, devices=devices, backend=backend, **options)
    assert len(two) == len(one) == 2
    for result, expected in zip(two, one, strict=True):
        torch.testing.assert_close(result["losses"], expected["losses"], rtol=1e-4, atol=1e-6)
        assert_same_gradients(result["gradients"], expected["gradients"])
