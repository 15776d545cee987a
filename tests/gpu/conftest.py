"""Tests of everything that runs on a GPU; without one they run small in Triton's interpreter.

With TRITON_INTERPRET=1 (set before anything imports Triton) the same tests run on the CPU at tiny
sizes, which proves the tests and the kernels' arithmetic where there is no GPU.
"""

import importlib

import pytest
import torch
from gpu_cases import DEVICE, IS_REAL, MEASURED, why_not

from dyhead.ops import backends, branch_mix
from dyhead.ops.triton import branch_mix as triton_branch_mix
from dyhead.ops.triton import deform_conv as triton_deform_conv


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark everything in this folder, and skip it with the reason where nothing serves it."""
    reason = why_not()
    for item in items:
        if "gpu" not in item.path.relative_to(item.config.rootpath).parts:
            continue
        item.add_marker(pytest.mark.gpu)
        if reason:
            item.add_marker(pytest.mark.skip(reason=reason))


def pytest_terminal_summary(terminalreporter) -> None:
    """Tell how exact results were: a GPU is seldom at hand, and a passed test says less."""
    if MEASURED:
        terminalreporter.section("largest errors by norm")
    for name, error in MEASURED.items():
        terminalreporter.write_line(f"{error:.1e}  {name}")


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


@pytest.fixture
def triton_everywhere(monkeypatch):
    """Blocks by Triton: what a GPU chooses by itself, and the interpreter must be told."""
    # Their self-checks launch kernels, too: not while a test counts.
    assert triton_deform_conv.serves(DEVICE)
    assert triton_branch_mix.serves(DEVICE)
    if not IS_REAL:
        monkeypatch.setenv(backends.BACKEND_VARIABLE, "triton")
        passes = triton_branch_mix.TritonPasses()
        monkeypatch.setattr(branch_mix, "passes_for", lambda images: passes)


class _Noting:
    """A Triton kernel that notes its launches."""

    def __init__(self, kernel, name, launches):
        self.kernel, self.name, self.launches = kernel, name, launches

    def __getitem__(self, grid):
        self.launches.append(self.name)
        return self.kernel[grid]


@pytest.fixture
def note_launches(monkeypatch):
    """A function of a module of dyhead.ops and kernels' names: the list of all launches to come."""

    def note(module, names):
        launches, module = [], importlib.import_module(f"dyhead.ops.{module}")
        for name in names:
            monkeypatch.setattr(module, name, _Noting(getattr(module, name), name, launches))
        return launches

    return note


@pytest.fixture
def float32_convolutions(monkeypatch):
    """Ordinary convolutions in float32: by default cuDNN takes TF32, whose offsets would differ."""
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
