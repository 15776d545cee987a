"""The host imports nothing of the project but what knows no host."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "dyhead"
HOST = PACKAGE / "d2"
FILES = sorted(PACKAGE.rglob("*.py"))
# What the host may import of the project: it imports neither the host nor Detectron2 in turn.
WITHOUT_HOST = (
    "dyhead.box_geometry",
    "dyhead.d2_alias",
    "dyhead.errors",
    "dyhead.evaluation.average_precision",
    "dyhead.ops",
    "dyhead.picture_files",
    "dyhead.process_group",
    "dyhead.safe_io",
    "dyhead.visualization.boxes",
    "dyhead.visualization.colors",
    "dyhead.visualization.text",
)
# What the host gives of the project itself, when it is asked for.
GIVEN = {
    HOST / "engine" / "defaults.py": "dyhead.default_predictor",
    HOST / "modeling" / "backbone" / "resnet.py": "dyhead.modeling.backbone.deform_bottleneck",
}


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
    assert not [m for m in modules if is_within(m, "detectron2")]
    if path.is_relative_to(HOST):
        allowed = (*WITHOUT_HOST, GIVEN.get(path, "dyhead.safe_io"))
        of_project = [m for m in modules if is_within(m, "dyhead")]
        assert not [m for m in of_project if not any(is_within(m, part) for part in allowed)]


def test_the_host_runs_without_the_project():
    code = "import sys, dyhead.d2.engine; sys.exit('dyhead.detector' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=120).returncode == 0
