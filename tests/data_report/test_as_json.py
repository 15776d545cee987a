"""The report in JSON is strict, stable, and says what the text says."""

import json
from collections.abc import Callable
from pathlib import Path

from planted_faults import PLANTERS, LabelledFolder

from dyhead.data.checks import kinds
from dyhead.data_report.collect import DataReport
from dyhead.data_report.text import format_report

Check = Callable[..., DataReport]


def refuse(constant: str) -> None:
    raise AssertionError(f"{constant} is no JSON")


def test_the_report_is_strict_json_with_the_documented_keys(
    folder: LabelledFolder, check: Check, tmp_path: Path
) -> None:
    PLANTERS[kinds.CLIPPED_BOX.name].plant(folder)
    folder.train.add_box(1, [1, float("nan"), 5, 5])
    folder.train.add_box(1, [1, 1, float("inf"), 5])
    target = tmp_path / "report.json"
    report = check(json=target)
    read = json.loads(target.read_text(), parse_constant=refuse)
    assert read.keys() == {"format", "dyhead", "faults", "notes", "pyramid", "sources", "between"}
    assert (read["format"], read["faults"]) == (1, report.count(is_fault=True))
    train, val = read["sources"]
    assert train.keys() == {
        "role",
        "path",
        "kind",
        "image_root",
        "images",
        "boxes",
        "crowds",
        "findings",
        "classes",
        "box_sides",
        "levels",
        "aspect_ratios",
        "objects_per_image",
        "worst_images",
    }
    counts = {found["kind"]: found["count"] for found in train["findings"]}
    assert counts == {"box-partly-outside": 1, "malformed-annotation": 2}
    assert not val["findings"]
    for key in ("box_sides", "levels", "aspect_ratios"):
        assert sum(each["count"] for each in train[key]) == train["boxes"]
    assert sum(each["count"] for each in train["objects_per_image"]) == train["images"]


def test_items_tell_the_picture_and_the_box(
    folder: LabelledFolder, check: Check, tmp_path: Path
) -> None:
    PLANTERS[kinds.CLIPPED_BOX.name].plant(folder)
    planted = next(a for a in folder.train.content["annotations"] if a["bbox"][0] == 86)
    check(json=tmp_path / "report.json")
    (found,) = json.loads((tmp_path / "report.json").read_text())["sources"][0]["findings"]
    (item,) = found["items"]
    assert (item["file_name"], item["box"]) == ("001.png", planted["bbox"])
    assert found["is_fault"] and found["advice"] == kinds.CLIPPED_BOX.advice


def test_the_text_names_every_kind(folder: LabelledFolder, check: Check) -> None:
    PLANTERS[kinds.CLIPPED_BOX.name].plant(folder)
    PLANTERS[kinds.IGNORED_BOX.name].plant(folder)
    text = format_report(check())
    assert f"fault: 1 x {kinds.CLIPPED_BOX}" in text
    assert f"note:  1 x {kinds.IGNORED_BOX.problem}" in text
    assert text.endswith("1 fault of 1 kind, 1 note of 1 kind.")


def test_a_terminal_is_not_commanded(folder: LabelledFolder, check: Check) -> None:
    for part in (folder.train, folder.val):
        part.content["categories"][0]["name"] = "\x1b[31mred\ud800"
    text = format_report(check())
    assert "\x1b" not in text and "[31mred" in text
    text.encode("utf-8")
