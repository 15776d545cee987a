"""`dyhead check` tells by its exit status whether faults were found."""

from pathlib import Path

import pytest
from planted_faults import PLANTERS, LabelledFolder

from dyhead.cli.main import main
from dyhead.data.checks import kinds


@pytest.fixture
def folder(tmp_path: Path, own_catalogs: None) -> LabelledFolder:
    return LabelledFolder(tmp_path / "data", num_images=4)


def run(folder: LabelledFolder, *options: str) -> int:
    line = ["check", str(folder.train.write()), "--images", str(folder.train.images), *options]
    try:
        main(line)
    except SystemExit as stopped:
        assert isinstance(stopped.code, int)
        return stopped.code
    return 0


def test_a_sound_set_ends_with_0(
    folder: LabelledFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(folder) == 0
    assert "Nothing found." in capsys.readouterr().out


def test_faults_end_with_3_and_leave_the_page(folder: LabelledFolder, tmp_path: Path) -> None:
    PLANTERS[kinds.CLIPPED_BOX.name].plant(folder)
    assert run(folder, "--html", str(tmp_path / "page.html")) == 3
    assert (tmp_path / "page.html").read_text().startswith("<!doctype html>")


def test_notes_alone_end_with_0(folder: LabelledFolder, capsys: pytest.CaptureFixture[str]) -> None:
    PLANTERS[kinds.IGNORED_BOX.name].plant(folder)
    assert run(folder) == 0
    assert "No faults, 1 note of 1 kind." in capsys.readouterr().out


def test_what_cannot_be_read_is_an_error_of_its_own(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="Error: .*no.json"):
        main(["check", str(tmp_path / "no.json")])


def test_batches_go_into_a_page_that_need_not_be_named(
    folder: LabelledFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(folder, "--batches", "1") == 0
    assert "What the model sees" in Path("check.html").read_text()
