"""The commit is that of the code's own checkout, and of no project around it."""

import subprocess
from pathlib import Path

import pytest

from dyhead.info.commit import find_commit


def git(folder: Path, *arguments: str) -> str:
    names = ("-c", "user.name=A", "-c", "user.email=a@b")
    command = ["git", *names, *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True).stdout


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    git(tmp_path, "init", "-q")
    (tmp_path / "code.py").write_text("a = 1\n")
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "table.md").write_text("| 1 |\n")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-q", "-m", "first")
    return tmp_path


def test_a_checkout_has_its_commit_whatever_its_tags(checkout: Path) -> None:
    head = git(checkout, "rev-parse", "HEAD").strip()
    assert find_commit(checkout) == head[:12]
    git(checkout, "tag", "v1")
    assert find_commit(checkout) == head[:12]


def test_changed_code_is_marked_and_files_that_runs_write_are_not(checkout: Path) -> None:
    before = find_commit(checkout)
    (checkout / "output").write_text("of a run\n")
    assert find_commit(checkout) == before
    (checkout / "results" / "table.md").write_text("| 2 |\n")
    assert find_commit(checkout) == before
    (checkout / "code.py").write_text("a = 2\n")
    assert find_commit(checkout) == f"{before}-dirty"


def test_an_environment_within_a_checkout_has_none(checkout: Path) -> None:
    installed = checkout / ".venv" / "site-packages"
    installed.mkdir(parents=True)
    assert find_commit(installed) == ""


def test_without_git_or_commits_there_is_none(
    checkout: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    empty = tmp_path_factory.mktemp("empty")
    git(empty, "init", "-q")
    assert find_commit(empty) == ""
    monkeypatch.setenv("PATH", str(empty))
    assert find_commit(checkout) == ""
