"""The folder of results is made, or refused before the work, by what the user wrote."""

import os
from pathlib import Path

import pytest

from dyhead.errors import UserError
from dyhead.output_folder import make_output_folder, write_errors


def test_it_is_made_with_those_above_it_and_may_be_there(tmp_path: Path) -> None:
    for _ in range(2):
        make_output_folder(tmp_path / "new" / "run", "--output run")
    assert (tmp_path / "new" / "run").is_dir()


def test_a_file_in_its_place_is_refused_by_the_option(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("")
    with pytest.raises(UserError, match="^--output run: .*exists"):
        make_output_folder(tmp_path / "run", "--output run")


def test_a_folder_that_takes_no_files_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # root may write anywhere
    with pytest.raises(UserError, match="--output run: the folder cannot be written"):
        make_output_folder(tmp_path, "--output run")


def test_what_the_disk_refuses_is_told_and_bugs_are_not_hidden() -> None:
    with (
        pytest.raises(UserError, match="^--output run: .*No space left"),
        write_errors("--output run"),
    ):
        raise OSError(28, "No space left on device")
    with pytest.raises(KeyError), write_errors("--output run"):
        raise KeyError("a bug")
