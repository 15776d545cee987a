"""`dyhead predict` refuses options that no source would heed, before it loads anything."""

from pathlib import Path

import pytest
from PIL import Image

from dyhead.cli.main import main


@pytest.fixture
def picture(tmp_path: Path) -> str:
    Image.new("RGB", (80, 60)).save(tmp_path / "photo.png")
    return str(tmp_path / "photo.png")


def refusal(tmp_path: Path, *words: str) -> str:
    with pytest.raises(SystemExit) as ended:
        main(["predict", str(tmp_path / "no_run"), *words, "--output", str(tmp_path / "out")])
    assert not (tmp_path / "out").exists()
    return str(ended.value.code)


def test_frames_are_not_limited_where_all_are_pictures(picture: str, tmp_path: Path) -> None:
    assert "--max-frames is for videos" in refusal(tmp_path, picture, "--max-frames", "2")


def test_a_camera_has_no_batches(picture: str, tmp_path: Path) -> None:
    assert "--batch is for pictures and videos" in refusal(tmp_path, "7", "--batch", "2")
    assert "no_run" in refusal(tmp_path, "7", picture, "--batch", "2"), "the picture heeds it"


@pytest.mark.parametrize(
    ("option", "key", "value"),
    [
        (["--precision", "bfloat16"], "TEST.PRECISION", "float32"),
        (["--multi-scale"], "TEST.AUG.ENABLED", "False"),
    ],
    ids=["precision", "multi-scale"],
)
def test_a_key_is_set_by_one_option(
    picture: str, tmp_path: Path, option: list[str], key: str, value: str
) -> None:
    message = refusal(tmp_path, picture, *option, "--set", key, value)
    assert f"{option[0]} and --set {key} set the same key" in message
    assert "no_run" in refusal(tmp_path, picture, *option, "--set", "TEST.AUG.FLIP", value)
