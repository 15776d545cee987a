"""Only regular files of an allowed size are opened; whatever is wrong is an OSError."""

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dyhead.errors import UserError
from dyhead.picture_files import PictureError, allow_pixels, read_header, read_upright


@pytest.fixture
def own_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 60)  # 120 are refused


@pytest.fixture
def special_files(tmp_path: Path) -> Iterator[dict[str, Path]]:
    (tmp_path / "folder.png").mkdir()
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "device.png").symlink_to("/dev/zero")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "socket.png"))
        yield {kind: tmp_path / f"{kind}.png" for kind in ("folder", "pipe", "device", "socket")}


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="Windows has no such files")
@pytest.mark.parametrize("kind", ["folder", "pipe", "device", "socket"])
def test_special_files_are_refused_unopened(special_files: dict[str, Path], kind: str) -> None:
    error = read_header(special_files[kind])
    assert isinstance(error, PictureError) and kind in str(error)
    with pytest.raises(PictureError, match=kind):
        read_upright(special_files[kind])


def test_too_many_pixels_are_refused_with_the_key_and_allowed_by_it(
    tmp_path: Path, own_limit: None, recwarn: pytest.WarningsRecorder
) -> None:
    Image.new("L", (50, 10)).save(tmp_path / "a.png")
    error = read_header(tmp_path / "a.png")
    assert isinstance(error, OSError)
    assert "500 pixels" in str(error) and "INPUT.MAX_PIXELS" in str(error)
    allow_pixels(0)
    assert isinstance(read_header(tmp_path / "a.png"), OSError)
    allow_pixels(500)
    assert read_header(tmp_path / "a.png").size == (50, 10)
    assert read_upright(tmp_path / "a.png").size == (50, 10)
    assert not recwarn.list
    allow_pixels(498)
    assert isinstance(read_header(tmp_path / "a.png"), OSError)
    with pytest.raises(UserError, match=r"INPUT.MAX_PIXELS is -1"):
        allow_pixels(-1)


def test_whatever_bytes_a_file_has_only_os_errors_leave(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    pixels = generator.integers(0, 256, (20, 30, 3), dtype=np.uint8)
    for ending in ("png", "jpg", "tif", "bmp", "webp", "gif"):
        whole = tmp_path / f"whole.{ending}"
        Image.fromarray(pixels).save(whole)
        content = bytearray(whole.read_bytes())
        for number in range(60):
            damaged = content.copy()
            places = generator.integers(0, min(len(content), 200), 4)
            for place in places:
                damaged[place] = generator.integers(0, 256)
            path = tmp_path / f"{number}.{ending}"
            path.write_bytes(damaged[: generator.integers(1, len(content) + 1)])
            header = read_header(path)
            try:
                size = read_upright(path).size
            except OSError:
                continue
            assert header.size == size
