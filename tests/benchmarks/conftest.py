"""Every test of the benchmarks begins with the same random numbers."""

import pytest
import torch


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)
