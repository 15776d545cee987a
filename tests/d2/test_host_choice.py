import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

from dyhead.d2 import choose_host
from dyhead.errors import UserError

ROOT = Path(__file__).parents[2]


def set_detectron2_found(monkeypatch, found):
    spec = object() if found else None
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: spec)


def run_python(code, host=None, extra_path=None):
    environment = {k: v for k, v in os.environ.items() if k not in ("DYHEAD_HOST", "PYTHONPATH")}
    paths = [str(extra_path)] if extra_path else []
    environment["PYTHONPATH"] = os.pathsep.join([*paths, str(ROOT)])
    if host is not None:
        environment["DYHEAD_HOST"] = host
    return subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize(
    ("requested", "found", "expected"),
    [
        (None, True, "detectron2"),
        (None, False, "embedded"),
        ("", True, "detectron2"),
        ("", False, "embedded"),
        ("embedded", True, "embedded"),
        ("embedded", False, "embedded"),
        ("detectron2", True, "detectron2"),
    ],
)
def test_choice(monkeypatch, requested, found, expected):
    set_detectron2_found(monkeypatch, found)
    assert choose_host(requested) == expected


def test_where_the_embedded_host_is_asked_for_nothing_looks_for_detectron2(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: pytest.fail(f"looked for {name}"))
    assert choose_host("embedded") == "embedded"


def test_unknown_host_is_refused():
    with pytest.raises(UserError, match="DYHEAD_HOST='mmdet'"):
        choose_host("mmdet")


def test_absent_detectron2_cannot_be_forced(monkeypatch):
    set_detectron2_found(monkeypatch, False)
    with pytest.raises(UserError, match="DYHEAD_HOST"):
        choose_host("detectron2")


@pytest.mark.parametrize("program", [["train_net.py"], ["-m", "dyhead", "train"]], ids=" ".join)
def test_programs_refuse_an_unknown_host_in_one_sentence(program):
    done = subprocess.run(
        [sys.executable, *program, "--config", "quickstart"],
        cwd=ROOT,
        env={**os.environ, "DYHEAD_HOST": "mmdet"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith("Error: DYHEAD_HOST='mmdet' names no host")


def test_a_description_of_the_installation_refuses_the_host_once():
    code = "from dyhead.cli.main import main; main(['info'])"
    done = run_python(code, host="mmdet")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("names no host") == 1


def test_environment_variable_forces_the_embedded_host(tmp_path):
    (tmp_path / "detectron2").mkdir()
    (tmp_path / "detectron2" / "__init__.py").write_text("raise ImportError('broken')\n")
    code = "from dyhead.d2.config import CfgNode; print(CfgNode.__module__)"
    result = run_python(code, host="embedded", extra_path=tmp_path)
    assert result.stdout.startswith("dyhead.d2.config.")


def test_a_broken_installation_fails_loudly(tmp_path):
    (tmp_path / "detectron2").mkdir()
    (tmp_path / "detectron2" / "__init__.py").write_text("raise ImportError('broken')\n")
    result = run_python("import dyhead.d2.config", extra_path=tmp_path)
    assert result.returncode != 0
    assert "ImportError: broken" in result.stderr
