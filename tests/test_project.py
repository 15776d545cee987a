"""The files that describe the project agree with it and with each other."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

import dyhead

PROJECT = Path(__file__).parents[1]
SETUP = (PROJECT / "setup.py").read_text(encoding="utf-8")


def read_yaml(name: str) -> Any:
    return yaml.safe_load((PROJECT / name).read_text(encoding="utf-8"))


def matrix() -> list[dict[str, str]]:
    """Every machine on which the workflow runs the tests."""
    settings = read_yaml(".github/workflows/ci.yml")["jobs"]["test"]["strategy"]["matrix"]
    (system,), (pytorch,) = settings["os"], settings["pytorch"]
    rows = [{"os": system, "python": one, "pytorch": pytorch} for one in settings["python"]]
    return rows + settings["include"]


def test_the_newest_entry_of_the_changelog_is_of_this_version() -> None:
    text = (PROJECT / "CHANGELOG.md").read_text(encoding="utf-8")
    entry = re.compile(r"^## (\S+) \((?:\d{4}-\d{2}-\d{2}|not released)\)$", re.MULTILINE)
    newest = entry.search(text)
    assert newest is not None and newest.group(1) == dyhead.__version__
    assert text.index("## ") == newest.start()


def test_the_version_stands_in_one_place() -> None:
    for name in ("setup.py", "pyproject.toml", "CITATION.cff", "README.md", "Makefile"):
        assert dyhead.__version__ not in (PROJECT / name).read_text(encoding="utf-8"), name


def test_every_python_that_setup_names_is_tested() -> None:
    low, high = map(int, re.findall(r"range\((\d+), (\d+)\)", SETUP)[0])
    tested = {row["python"] for row in matrix() if row["os"].startswith("ubuntu")}
    assert tested == {f"3.{minor}" for minor in range(low, high)}


@pytest.mark.parametrize("package", ["torch", "torchvision"])
def test_the_oldest_pytorch_that_setup_allows_is_tested(package: str) -> None:
    oldest = re.search(rf'"{package}>=([\d.]+)"', SETUP)
    assert oldest is not None
    assert any(f"{package}=={oldest.group(1)}." in row["pytorch"] for row in matrix())


def test_every_system_is_tested() -> None:
    systems = {row["os"].partition("-")[0] for row in matrix()}
    assert systems == {"ubuntu", "macos", "windows"}


def test_every_form_for_a_fault_asks_for_dyhead_info() -> None:
    for name in ("bug", "speed"):
        form = read_yaml(f".github/ISSUE_TEMPLATE/{name}.yml")
        (info,) = (part for part in form["body"] if part["id"] == "info")
        assert "dyhead info" in info["attributes"]["label"]
        assert info["validations"]["required"]


def test_citation_and_readme_name_the_same_paper() -> None:
    paper = read_yaml("CITATION.cff")["preferred-citation"]
    readme = (PROJECT / "README.md").read_text(encoding="utf-8")
    assert f"title = {{{paper['title']}}}" in readme
    names = [f"{author['family-names']}, {author['given-names']}" for author in paper["authors"]]
    assert f"author = {{{' and '.join(names)}}}" in readme


def test_hooks_check_with_the_same_scripts_as_make_lint() -> None:
    (repository,) = read_yaml(".pre-commit-config.yaml")["repos"]
    makefile = (PROJECT / "Makefile").read_text(encoding="utf-8")
    for hook in repository["hooks"]:
        assert hook["language"] == "system"
        command = hook["entry"].removeprefix("python ").split(" -")[0]
        assert command in makefile, hook["id"]
