"""`last_checkpoint` names a file beside it, and nothing else."""

from pathlib import Path

import pytest

from dyhead.safe_io.tag import read_tag, write_tag


def test_a_name_comes_back(tmp_path: Path) -> None:
    write_tag(tmp_path, "model_0000004.pth")
    assert read_tag(tmp_path) == "model_0000004.pth"
    (tmp_path / "last_checkpoint").write_text("model_final.pth\n")  # as an editor leaves it
    assert read_tag(tmp_path) == "model_final.pth"


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"../model.pth",
        b"/etc/passwd",
        b"a/b.pth",
        b"..",
        b"C:\\model.pth",
        b"a\nb",
        b"x" * 9999,
    ],
)
def test_anything_but_a_plain_name_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "last_checkpoint").write_bytes(content)
    with pytest.raises(ValueError, match="last_checkpoint names .* plain name of a file beside it"):
        read_tag(tmp_path)
    with pytest.raises(ValueError, match="plain file name"):
        write_tag(tmp_path, content.decode())


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    (tmp_path / "last_checkpoint").write_bytes(b"\xff\xfe")
    with pytest.raises(ValueError, match="is no text"):
        read_tag(tmp_path)
