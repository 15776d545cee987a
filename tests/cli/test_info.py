"""`dyhead info` says what is true of this installation, and of broken ones too."""

import importlib.metadata
import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch

import dyhead
from dyhead.cli.main import main
from dyhead.d2 import HOST
from dyhead.info import collect, collect_info, devices, format_info, packages
from dyhead.ops import backends
from dyhead.ops.cpp import extension


@pytest.fixture(scope="module")
def info() -> dict[str, Any]:
    return collect_info()


def test_versions_are_those_of_the_installed_packages(info: dict[str, Any]) -> None:
    versions = info["versions"]
    assert versions["dyhead"] == dyhead.__version__
    for name in ("torch", "torchvision", "numpy", "timm"):
        assert versions[name] == importlib.metadata.version(name)
    assert info["host"]["name"] == HOST and info["host"]["reason"]


def test_every_required_package_is_listed() -> None:
    text = (Path(__file__).parents[2] / "setup.py").read_text()
    required = text[text.index("install_requires") : text.index("]", text.index("install_"))]
    for name in packages.PACKAGES:
        assert f'"{name}' in required


def test_text_and_json_say_the_same(
    info: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    main(["info", "--json"])
    assert json.loads(capsys.readouterr().out).keys() == info.keys()
    main(["info"])
    text = capsys.readouterr().out
    for value in (*info["versions"].values(), *info["folders"].values(), *info["host"].values()):
        assert value in text
    for part in info["optional"]:
        assert part["package"] in text and (part.get("version") or part["install"]) in text


def test_back_ends_are_those_that_serve(info: dict[str, Any]) -> None:
    for name, answers in info["deform_conv"].items():
        assert set(answers) == set(backends.BACKENDS)
        for backend, answer in answers.items():
            if backend != "cpp":  # asking for it would build it
                reason = backends.why_not(backend, torch.device(name))
                assert answer.startswith(f"no: {reason}" if reason else "yes")
        chosen = [backend for backend, answer in answers.items() if "automatically" in answer]
        assert len(chosen) == 1


def test_a_machine_without_gpu_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    monkeypatch.setattr(devices, "driver_version", lambda: "")
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    assert "no driver" in devices.describe_devices()["gpu"]
    monkeypatch.setattr(devices, "driver_version", lambda: "570.1")
    assert "beside the driver 570.1" in devices.describe_devices()["gpu"]
    monkeypatch.setattr(torch.version, "cuda", None)
    monkeypatch.setattr(torch.version, "hip", None)
    assert "built for CPUs alone" in devices.describe_devices()["gpu"]


def test_the_driver_is_what_nvidia_smi_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "nvidia-smi"
    monkeypatch.setenv("PATH", str(tmp_path))
    assert devices.driver_version() == ""
    program.write_text("#!/bin/sh\necho 570.86.15\necho 570.86.15\n")
    program.chmod(0o755)
    assert devices.driver_version() == "570.86.15"
    program.write_text("#!/bin/sh\necho no driver\nexit 9\n")
    assert devices.driver_version() == ""


@pytest.fixture
def no_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache: the extension is not built."""
    monkeypatch.setenv("DYHEAD_CACHE", str(tmp_path))
    monkeypatch.delenv("DYHEAD_CPP", raising=False)
    return tmp_path


def found(command: list[str]) -> tuple[list[str], list[str]]:
    return command, ["-fopenmp"]


def test_an_extension_that_can_be_built_is_announced_and_not_built(
    no_library: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(extension, "find_compiler", lambda: found(["my c++"]))
    monkeypatch.setattr(extension, "load", pytest.fail)
    info = collect_info()
    assert info["extension"]["state"].startswith("not built yet")
    assert info["extension"]["library"].startswith(str(no_library))
    assert info["extension"]["compiler"] == "'my c++' -fopenmp"
    assert info["deform_conv"]["cpu"]["cpp"].startswith("yes")
    assert not list(no_library.iterdir())


def test_build_builds(no_library: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    built = []
    monkeypatch.setattr(extension, "load", lambda: built.append(True) or True)
    collect_info(build=True)
    assert built


def test_reasons_against_the_extension_are_given(
    no_library: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none() -> None:
        raise extension.BuildError("no C++ compiler found")

    monkeypatch.setattr(extension, "find_compiler", none)
    info = collect_info()
    assert info["extension"]["reason"] == "no C++ compiler found"
    assert info["deform_conv"]["cpu"]["cpp"] == "no: no C++ compiler found"
    monkeypatch.setattr(extension, "find_compiler", lambda: found(["c++"]))
    extension._failure(extension.find_state().library).write_text("\nthe compiler failed")
    monkeypatch.delenv("CXX", raising=False)
    assert "the compiler failed" in collect_info()["extension"]["reason"]
    monkeypatch.setenv("DYHEAD_CPP", "0")
    assert "DYHEAD_CPP=0" in collect_info()["deform_conv"]["cpu"]["cpp"]


def test_a_missing_part_is_listed_with_its_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packages, "find_version", lambda name: "4.9" if "opencv" in name else "")
    parts = {part["package"]: part for part in packages.describe_optional_parts()}
    assert parts["opencv-python"]["version"] == "4.9"  # in the place of av
    assert parts["onnxruntime"]["install"] == 'pip install "dyhead[export]"'


def test_the_commands_name_extras_that_there_are() -> None:
    text = (Path(__file__).parents[2] / "setup.py").read_text()
    extras = re.findall(
        r"dyhead\[(\w+)]", " ".join(part.command for part in packages.OPTIONAL_PARTS)
    )
    assert extras and all(f'"{extra}": {extra.upper()}' in text for extra in extras)


def test_a_broken_part_does_not_hide_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> None:
        raise RuntimeError("operator torchvision::nms does not exist")

    monkeypatch.setattr(collect, "describe_backends", broken)
    info = collect_info()
    assert "torchvision::nms" in info["deform_conv"]["error"]
    assert info["versions"]["torch"] == importlib.metadata.version("torch")
    assert "torchvision::nms" in format_info(info)


def test_variables_that_are_set_are_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DYHEAD_CACHE", "/somewhere")
    assert collect_info()["environment"]["DYHEAD_CACHE"] == "/somewhere"
