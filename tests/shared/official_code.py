"""Modules of the official code, loaded from a checkout beside stand-ins for what they import."""

import importlib.util
import os
import sys
import types
from pathlib import Path
from typing import Any

import pytest


def official_checkout() -> Path:
    """Return the checkout that DYNAMICHEAD_SOURCE names; without it the test is skipped."""
    source = os.environ.get("DYNAMICHEAD_SOURCE")
    if not source:
        pytest.skip("set DYNAMICHEAD_SOURCE to a checkout of microsoft/DynamicHead")
    return Path(source)


def stand_in(monkeypatch: pytest.MonkeyPatch, name: str, **attributes: Any) -> None:
    """Let a module, or a package, of this name be imported that has these attributes alone."""
    module: Any = types.ModuleType(name)
    module.__path__ = []
    vars(module).update(attributes)
    monkeypatch.setitem(sys.modules, name, module)


def load_official(monkeypatch: pytest.MonkeyPatch, name: str, path: Path) -> Any:
    """Import a file of the checkout as the module `name`."""
    spec: Any = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, name, module)
    spec.loader.exec_module(module)
    return module
