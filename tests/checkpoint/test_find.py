"""A run's folder, a file or an address means one checkpoint, or is refused."""

from pathlib import Path

import pytest

from dyhead.checkpoint.find import find_checkpoint
from dyhead.errors import UserError


def test_the_best_of_a_folder_comes_first(tmp_path: Path) -> None:
    names = ["model_0000003.pth", "model_final.safetensors", "model_final.pth", "model_best.pth"]
    (tmp_path / "last_checkpoint").write_text(names[0] + "\n")
    for name in names:
        (tmp_path / name).touch()
        assert find_checkpoint(tmp_path) == (tmp_path / name, None)


def test_the_config_beside_it_is_found_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("config.yaml", "model_final.pth"):
        (tmp_path / name).touch()
    monkeypatch.setenv("RUN", str(tmp_path))
    expected = (tmp_path / "model_final.pth", tmp_path / "config.yaml")
    for source in (tmp_path, str(tmp_path), "$RUN", "$RUN/model_final.pth"):
        assert find_checkpoint(source) == expected


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("absent", "absent does not exist"),
        ("empty", "empty holds no checkpoint"),
        ("stale", "names gone.pth, which is not there"),
        ("ftp://a/b", "unknown kind"),
        ("hf://owner", "names no file"),
    ],
)
def test_what_cannot_be_found_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "stale").mkdir()
    (tmp_path / "stale" / "last_checkpoint").write_text("gone.pth")
    with pytest.raises(UserError, match=message):
        find_checkpoint(source)
