"""`dyhead check` tells by its exit status whether faults were found."""

import json
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


def test_data_of_which_nothing_can_be_used_is_reported_like_any_other(
    folder: LabelledFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    PLANTERS[kinds.FRACTION_BOXES.name].plant(folder)
    folder.train.content["annotations"] = folder.train.content["annotations"][:-3]
    page, report, mended = (tmp_path / name for name in ("a.html", "a.json", "mended.json"))
    outputs = ["--html", str(page), "--json", str(report), "--write", str(mended)]
    assert run(folder, *outputs, "--batches", "1") == 3
    (source,) = json.loads(report.read_text())["sources"]
    found = [each["kind"] for each in source["findings"]]
    assert {kinds.FRACTION_BOXES.name, kinds.NOTHING_USABLE.name} <= set(found)
    assert (source["images"], source["boxes"]) == (4, 0)
    text, html = capsys.readouterr().out, page.read_text()
    for said in (kinds.FRACTION_BOXES.problem, "no usable annotations", "gives no batches"):
        assert said in text and said in html
    assert f"Not written: {mended}" in text and not mended.exists()


@pytest.mark.parametrize("lacking", ["no annotations", "crowds alone"])
def test_a_training_set_without_objects_is_a_fault_as_the_training_refuses_it(
    folder: LabelledFolder, capsys: pytest.CaptureFixture[str], lacking: str
) -> None:
    for annotation in folder.train.content["annotations"]:
        annotation["ignore"] = 1
    if lacking == "no annotations":
        folder.train.content["annotations"] = []
    assert run(folder, "--batches", "1", "--html", str(folder.train.path.parent / "a.html")) == 3
    text = capsys.readouterr().out
    assert kinds.NOTHING_TO_LEARN.problem in text and f"has {lacking}" in text
    assert "A training gives no batches" in text


def test_a_wrong_image_folder_is_reported_by_the_files_that_it_lacks(
    folder: LabelledFolder, tmp_path: Path
) -> None:
    for picture in folder.train.images.iterdir():
        picture.unlink()
    assert run(folder, "--json", str(tmp_path / "a.json"), "--html", str(tmp_path / "a.html")) == 3
    (source,) = json.loads((tmp_path / "a.json").read_text())["sources"]
    counts = {each["kind"]: each["count"] for each in source["findings"]}
    assert counts == {"missing-image": 4, "annotation-of-lost-image": 12, "nothing-usable": 1}
    assert "no usable images" in (tmp_path / "a.html").read_text()


def test_batches_go_into_a_page_that_need_not_be_named(
    folder: LabelledFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(folder, "--batches", "1") == 0
    assert "What the model sees" in Path("check.html").read_text()
