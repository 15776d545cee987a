"""The data of the published results is made from folders in its authors' layout."""

import json
from pathlib import Path
from typing import Any

import public_data
import pytest
from data_sets import annotations_digest, find_data_set, prepare_data
from PIL import Image

VOC = """<annotation><filename>{name}.jpg</filename><source><database>Unknown</database></source>
<size><width>64</width><height>48</height><depth>3</depth></size>{objects}</annotation>"""
OBJECT = """<object><name>{}</name><difficult>0</difficult><bndbox><xmin>{}</xmin><ymin>{}</ymin>
<xmax>{}</xmax><ymax>{}</ymax></bndbox></object>"""


@pytest.fixture
def cells(tmp_path: Path) -> Path:
    """BCCD's layout: two pictures to train on, one to validate, one for tests."""
    folder = tmp_path / "BCCD"
    for name in ("Annotations", "ImageSets/Main", "JPEGImages"):
        (folder / name).mkdir(parents=True)
    for number, name in enumerate("abcd"):
        Image.new("RGB", (64, 48), (60 * number, 0, 90)).save(folder / f"JPEGImages/{name}.jpg")
        labels = [("WBC", 1, 1, 64, 48), ("Platelets", 5, 6, 24 + number, 15)]
        text = VOC.format(name=name, objects="".join(OBJECT.format(*label) for label in labels))
        (folder / f"Annotations/{name}.xml").write_text(text)
    for part, names in (("train", "ac"), ("val", "b"), ("test", "d")):
        (folder / f"ImageSets/Main/{part}.txt").write_text("\n".join(names))
    return folder


@pytest.fixture
def boards(tmp_path: Path) -> Path:
    """DeepPCB's layout: 4 + 4 pictures, with a template, a test picture and labels each."""
    folder = tmp_path / "PCBData"
    for name, first in (("trainval.txt", 0), ("test.txt", 4)):
        lines = []
        for number in range(first, first + 4):
            group, stem = "group00041/00041", f"0004100{number}"
            for kind in ("temp", "test"):
                path = folder / group / f"{stem}_{kind}.jpg"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.new("RGB", (640, 640), (30 * number, 0, 90)).save(path)
            labels = folder / f"{group}_not" / f"{stem}.txt"
            labels.parent.mkdir(exist_ok=True)
            labels.write_text(f"{number} 10 40 70 3\n100 200 130 220 6\n")
            lines.append(f"{group}/{stem}.jpg {group}_not/{stem}.txt")
        (folder / name).write_text("\n".join(lines) + "\n")
    return folder


def make(name: str, folder: Path, digest: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make a data set beside published results of a digest; return its folder."""
    results, output = folder.parent / "study.json", folder.parent / "data"
    results.write_text(json.dumps({"annotations": {name: digest}}))
    monkeypatch.setattr(public_data, "RESULTS", results)
    public_data.main([f"--{name}", str(folder), "--output", str(output)])
    return output / name


def content_of(data: Path, part: str) -> dict[str, Any]:
    return json.loads((data / f"{part}.json").read_text())


def digest_of(data: Path) -> str:
    return annotations_digest(prepare_data(find_data_set(data), data.parent / "prepared"))


def test_corners_of_bccd_count_pixels_from_one(
    cells: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(SystemExit, match="bccd has the annotations .*, not 0123456789 of .*--bccd"):
        make("bccd", cells, "0123456789", monkeypatch)
    data = cells.parent / "data" / "bccd"
    train = content_of(data, "train")
    assert [image["file_name"] for image in train["images"]] == ["a.jpg", "c.jpg"]
    assert [each["name"] for each in train["categories"]] == ["RBC", "WBC", "Platelets"]
    found = [(each["category_id"], each["bbox"], each["area"]) for each in train["annotations"]]
    assert found[:2] == [(2, [0, 0, 64, 48], 64 * 48), (3, [4, 5, 20, 10], 200)]
    assert make("bccd", cells, digest_of(data), monkeypatch) == data
    assert len(list((data / "images").iterdir())) == 3, "without the part for tests"


def test_of_deeppcb_every_third_tested_picture_counts(
    boards: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(
        public_data, "LISTS", {"train": ("trainval.txt", 9), "val": ("test.txt", 1)}
    )
    with pytest.raises(SystemExit, match="give --deeppcb the commit"):
        make("deeppcb", boards, "0123456789", monkeypatch)
    data = boards.parent / "data" / "deeppcb"
    train, val = content_of(data, "train"), content_of(data, "val")
    names = [[image["file_name"] for image in part["images"]] for part in (train, val)]
    assert names == [["00041000_test.jpg", "00041003_test.jpg"], ["00041004_test.jpg"]]
    found = [(each["image_id"], each["category_id"], each["bbox"]) for each in train["annotations"]]
    assert found[1:3] == [(1, 6, [100, 200, 30, 20]), (2, 3, [3, 10, 37, 60])]
    assert train["categories"][2] == {"id": 3, "name": "mousebite"}
    make("deeppcb", boards, digest_of(data), monkeypatch)
    assert "deeppcb: its annotations are those of" in capsys.readouterr().out


def test_a_folder_of_another_layout_is_named(cells: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SystemExit, match=f"--deeppcb {cells}: .*trainval.txt"):
        make("deeppcb", cells, "", monkeypatch)
