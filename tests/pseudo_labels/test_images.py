"""The images of a folder: those that are labelled and listed, and those that are left out."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from pseudo_label_runs import HEIGHT, WIDTH, is_ours

from dyhead.data import coco_json


def test_the_picture_of_an_earlier_run_is_not_labelled(
    label: Callable[..., dict[str, Any]], folder: Path
) -> None:
    first = label(output=folder / "labels.json")
    assert (folder / "labels.png").is_file()
    assert label(output=folder / "labels.json")["images"] == first["images"]


def test_broken_images_are_counted_and_named(
    label: Callable[..., dict[str, Any]], caplog: pytest.LogCaptureFixture
) -> None:
    label()
    warnings = [r for r in caplog.records if r.levelno == logging.WARNING and is_ours(r)]
    (warning,) = (record.getMessage() for record in warnings)
    assert "2 images can't be read" in warning
    assert "empty.jpg (no image)" in warning and "truncated.png (" in warning


def test_which_images_are_listed(label: Callable[..., dict[str, Any]]) -> None:
    def names(*arguments: str) -> list[str]:
        return [image["file_name"] for image in label(*arguments)["images"]]

    everything = ["a.jpg", "b/2.png", "black.png", "c d/deep/4.PNG"]
    assert names("--keep-empty") == everything
    assert "black.png" not in names("--skip-empty")
    assert names("--max-images", "2") == everything[:2]


def test_a_turned_photograph_is_labelled_as_it_is_shown(
    label: Callable[..., dict[str, Any]], folder: Path, tmp_path: Path
) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # shown after a quarter turn
    Image.open(folder / "a.jpg").save(folder / "a.jpg", exif=exif)
    image = label()["images"][0]
    assert (image["file_name"], image["width"], image["height"]) == ("a.jpg", HEIGHT, WIDTH)
    checked = coco_json.load_checked_coco(
        "turned",
        coco_json.SourceFiles(tmp_path / "out" / "labels.json", folder, tmp_path / "repaired"),
    )
    assert len(checked) == 3 and not (tmp_path / "repaired").exists()
