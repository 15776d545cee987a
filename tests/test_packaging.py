"""A wheel and a source distribution hold what they should; an installed wheel finds its configs."""

import email
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[1]
# What pip needs of a clone to build; an own copy, because building leaves folders in it.
SOURCES = ("configs", "dyhead", "setup.py", "pyproject.toml", "MANIFEST.in")
TEXTS = (
    *("README.md", "LICENSE", "CHANGELOG.md", "CITATION.cff", "CONTRIBUTING.md"),
    *("Makefile", "train_net.py"),
)


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clone")
    for name in (*SOURCES, *TEXTS):
        if (PROJECT / name).is_dir():
            shutil.copytree(
                PROJECT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__")
            )
        else:
            shutil.copy(PROJECT / name, folder / name)
    return folder


def run(*command: str, cwd: Path, **variables: str) -> str:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", **variables}
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def build_wheel(source: Path, output: Path) -> Path:
    pip = (sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--no-index")
    run(*pip, str(source), "--wheel-dir", str(output), cwd=output)
    (wheel,) = output.glob("*.whl")
    return wheel


@pytest.fixture(scope="module")
def wheel(clone: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_wheel(clone, tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder to put on PYTHONPATH: a wheel of plain Python is installed by unpacking."""
    folder = tmp_path_factory.mktemp("installed")
    zipfile.ZipFile(wheel).extractall(folder)
    return folder


def files_of(root: str, pattern: str) -> set[str]:
    paths = (path for path in (PROJECT / root).rglob(pattern) if "__pycache__" not in path.parts)
    return {path.relative_to(PROJECT).as_posix() for path in paths}


def test_the_wheel_holds_code_configs_and_sources_of_the_extension(wheel: Path) -> None:
    names = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    configs = {f"dyhead/{name}" for name in files_of("configs", "*.yaml")}
    sources = files_of("dyhead/ops/cpp", "*.cpp") | files_of("dyhead/ops/cpp", "*.h")
    pages = {
        name
        for ending in ("html", "css", "js", "svg")
        for name in files_of("dyhead", f"*.{ending}")
    }
    others = {"dyhead/py.typed", *pages}
    assert names == files_of("dyhead", "*.py") | configs | sources | others


def test_the_metadata_say_what_an_index_shows(wheel: Path) -> None:
    archive = zipfile.ZipFile(wheel)
    (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
    metadata = email.message_from_bytes(archive.read(name))
    assert metadata["Requires-Python"] == ">=3.10"
    assert "Apache-2.0" in (metadata["License"] or metadata["License-Expression"])
    classifiers = metadata.get_all("Classifier")
    for minor in range(10, 15):
        assert f"Programming Language :: Python :: 3.{minor}" in classifiers
    assert "Typing :: Typed" in classifiers
    extras = {
        "check",
        "dev",
        "docs",
        "export",
        "fast",
        "pretrained",
        "supervision",
        "test",
        "video",
    }
    extras |= {"wandb", "mlflow", "trackio"}
    assert set(metadata.get_all("Provides-Extra")) == extras
    scripts = archive.read(name.replace("METADATA", "entry_points.txt")).decode()
    assert "dyhead = dyhead.cli.main:main" in scripts


def test_installed_configs_are_found_with_their_bases(installed: Path, tmp_path: Path) -> None:
    code = """
import dyhead
from dyhead.config import find_config, load_config
print(dyhead.__file__)
for name in ("quickstart", "configs/own_dataset.yaml"):
    print(find_config(name), load_config(name)[0].MODEL.DYHEAD.NUM_CONVS)
"""
    lines = run(sys.executable, "-c", code, cwd=tmp_path, PYTHONPATH=str(installed)).splitlines()
    assert lines == [
        str(installed / "dyhead" / "__init__.py"),
        f"{installed / 'dyhead' / 'configs' / 'quickstart.yaml'} 2",
        f"{installed / 'dyhead' / 'configs' / 'own_dataset.yaml'} 2",
    ]


def test_the_installed_command_lists_the_configs(installed: Path, tmp_path: Path) -> None:
    command = (sys.executable, "-m", "dyhead", "configs", "list")
    listed = run(*command, cwd=tmp_path, PYTHONPATH=str(installed))
    assert listed == run(*command, cwd=tmp_path, PYTHONPATH=str(PROJECT))


@pytest.mark.slow
def test_a_wheel_of_the_source_distribution_is_the_same(
    clone: Path, wheel: Path, tmp_path: Path
) -> None:
    run(sys.executable, "setup.py", "-q", "sdist", "--dist-dir", str(tmp_path), cwd=clone)
    (archive,) = tmp_path.glob("*.tar.gz")
    (tmp_path / "again").mkdir()
    again = build_wheel(archive, tmp_path / "again")
    assert contents(again) == contents(wheel)


def contents(wheel: Path) -> dict[str, bytes]:
    archive = zipfile.ZipFile(wheel)
    return {name: archive.read(name) for name in archive.namelist() if "RECORD" not in name}
