"""Tests of everything that runs on a GPU; without one they run small in Triton's interpreter.

With TRITON_INTERPRET=1 (set before anything imports Triton) the same tests run on the CPU at tiny
sizes, which proves the tests and the kernels' arithmetic where there is no GPU.
"""

import pytest
import torch
from gpu_cases import DEVICE, why_not


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark everything in this folder, and skip it with the reason where nothing serves it."""
    reason = why_not()
    for item in items:
        if "gpu" not in item.path.relative_to(item.config.rootpath).parts:
            continue
        item.add_marker(pytest.mark.gpu)
        if reason:
            item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(autouse=True)
def working_device(request: pytest.FixtureRequest):
    """End the run when a test lost the device: after a failed memory access all others fail too."""
    torch.manual_seed(0)
    yield
    if DEVICE.type == "cuda":
        try:
            torch.cuda.synchronize()
        except RuntimeError as error:
            first_line = str(error).splitlines()[0]
            pytest.exit(f"{request.node.nodeid} lost the device: {first_line}", returncode=1)
