"""Labelling refuses input that it cannot use, and outputs that would replace something."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from pseudo_label_runs import save_image, weights


@pytest.mark.parametrize(
    ("kept", "output", "message"),
    [
        ("pets.json", "pets.json", "pets.json is an input, which stays as it is"),
        ("link.json", "link.json", "link.json is an input, which stays as it is"),
        ("new/a.png", "new/a.json", r"new/a\.png is there already, and of no earlier run"),
        ("other.json", "other.json", "other.json is there already, and of no earlier run"),
    ],
)
def test_files_that_no_earlier_run_has_written_stay(
    label: Callable[..., dict[str, Any]], tmp_path: Path, kept: str, output: str, message: str
) -> None:
    (tmp_path / "link.json").symlink_to(tmp_path / "pets.json")
    (tmp_path / "other.json").write_text('{"images": [], "info": {"description": "by hand"}}')
    save_image(tmp_path / "new" / "a.png", 6)
    before = (tmp_path / kept).read_bytes()
    with pytest.raises(SystemExit, match=message):
        label(output=tmp_path / output)
    assert (tmp_path / kept).read_bytes() == before


def test_a_run_over_labels_that_its_config_trains_with_is_refused(
    label: Callable[..., dict[str, Any]], tmp_path: Path, pets: list[str]
) -> None:
    label()
    out = tmp_path / "out" / "labels.json"
    sets = str([pets, ["pseudo", str(out), str(tmp_path / "new")]])
    before = out.read_bytes()
    with pytest.raises(SystemExit, match=r"labels\.json is an input"):
        label("--threshold", "0.3", "DATASETS.COCO_JSON", sets)
    assert out.read_bytes() == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["MODEL.WEIGHTS", ""], "random weights detect nothing"),
        (["MODEL.WEIGHTS", "absent.pth"], "absent.pth does not exist"),
        (["--class-threshold", "bird=0.3"], "one of these names: cat, dog"),
        (["--class-threshold", "cat"], "NAME=SCORE"),
        (["--class-threshold", "cat=high"], "a score from 0 to 1"),
        (["--threshold", "50"], "--threshold 50"),
        (["--threshold", "0.99"], "highest score being 0.950"),
        (["--images", "absent"], "absent is no folder"),
        (["--output", "labels.txt"], "ends in .json"),
        (["DATASETS.TRAIN", "()"], "names and ids"),
        (["TEST.AUG.ENABLED", "Maybe"], "TEST.AUG.ENABLED"),
    ],
)
def test_unusable_input_ends_with_one_sentence(
    label: Callable[..., dict[str, Any]], tmp_path: Path, arguments: list[str], message: str
) -> None:
    with pytest.raises(SystemExit, match=message):
        label(*arguments)
    assert not (tmp_path / "out" / "labels.json").exists()


def test_weights_of_a_backbone_alone_are_refused(
    label: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    torch.save({"model": weights()}, tmp_path / "backbone.pth")
    with pytest.raises(SystemExit, match=r"lacks 1 of the model's 3 weights \(factor\)"):
        label("MODEL.WEIGHTS", str(tmp_path / "backbone.pth"))


def test_folders_without_readable_images_are_refused(
    label: Callable[..., dict[str, Any]], folder: Path
) -> None:
    for path in folder.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name not in ("empty.jpg", "truncated.png"):
            path.unlink()
    with pytest.raises(SystemExit, match="none can be read"):
        label()
    (folder / "empty.jpg").unlink()
    (folder / "truncated.png").unlink()
    with pytest.raises(SystemExit, match="holds no image"):
        label()
