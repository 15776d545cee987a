"""What several tests of operators use."""

import pytest


class _Noting:
    """A Triton kernel that notes its launches."""

    def __init__(self, kernel, name, launches):
        self.kernel, self.name, self.launches = kernel, name, launches

    def __getitem__(self, grid):
        self.launches.append(self.name)
        return self.kernel[grid]


@pytest.fixture
def note_launches(monkeypatch):
    """A function of a module and names of its Triton kernels: the list of all launches to come."""

    def note(module, names):
        launches = []
        for name in names:
            monkeypatch.setattr(module, name, _Noting(getattr(module, name), name, launches))
        return launches

    return note
