"""Who may import whom: the front door is the only way to Detectron2."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "dyhead"
DOOR = PACKAGE / "d2"
FILES = sorted(PACKAGE.rglob("*.py"))
# What the door gives of the project itself, when it is asked for: the predictor of either host.
GIVEN = {DOOR / "engine" / "__init__.py": {"dyhead.default_predictor"}}


def absolute_imports(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield node.module


def is_within(module, package):
    return (module + ".").startswith(package + ".")


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_stay_within_bounds(path):
    modules = list(absolute_imports(path))
    if not path.is_relative_to(DOOR):
        forbidden = ("detectron2", "dyhead.d2._embedded")
        assert not [m for m in modules if any(is_within(m, f) for f in forbidden)]
    elif path.is_relative_to(DOOR / "_embedded"):
        assert not [m for m in modules if is_within(m, "dyhead") or is_within(m, "detectron2")]
    else:
        modules = [module for module in modules if module not in GIVEN.get(path, ())]
        assert not [m for m in modules if is_within(m, "dyhead") and not is_within(m, "dyhead.d2")]


def test_the_door_opens_without_the_project():
    code = "import sys, dyhead.d2.engine; sys.exit('dyhead.detector' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=120).returncode == 0
