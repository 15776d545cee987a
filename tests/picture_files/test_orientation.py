"""Pictures are turned upright once, in every format, and boxes with them."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, features
from stored_pictures import STORED, save_turned, write_deep_tiff

from dyhead.picture_files import read_header, read_upright
from dyhead.picture_files.orientation import turn_box

FORMATS = {
    "png": {},
    "tif": {},
    "lzw.tif": {"compression": "tiff_lzw"},
    "deflate.tif": {"compression": "tiff_adobe_deflate"},
    **({"webp": {"lossless": True}} if features.check("webp") else {}),
}


@pytest.mark.parametrize("orientation", STORED)
@pytest.mark.parametrize("ending", FORMATS)
def test_every_format_is_turned_once(
    shown: np.ndarray, orientation: int, ending: str, tmp_path: Path
) -> None:
    path = save_turned(shown, orientation, tmp_path / f"a.{ending}", **FORMATS[ending])
    np.testing.assert_array_equal(np.asarray(read_upright(path).convert("RGB")), shown)
    header = read_header(path)
    assert header.size == (8, 6) and header.orientation == orientation
    assert header.stored == STORED[orientation](shown).shape[1::-1]


@pytest.mark.parametrize("orientation", STORED)
@pytest.mark.parametrize("ending", ["png", "tif"])
def test_grey_and_deep_pictures_are_turned_too(
    shown: np.ndarray, orientation: int, ending: str, tmp_path: Path
) -> None:
    path = save_turned(shown[:, :, 0], orientation, tmp_path / f"grey.{ending}")
    np.testing.assert_array_equal(np.asarray(read_upright(path)), shown[:, :, 0])
    deep = shown[:, :, 0].astype(np.uint16) << 8
    path = save_turned(deep, orientation, tmp_path / f"a.{ending}")
    np.testing.assert_array_equal(np.asarray(read_upright(path)), shown[:, :, 0])
    colours = np.ascontiguousarray(STORED[orientation](shown.astype(np.uint16) << 4))
    path = write_deep_tiff(colours, tmp_path / "colours.tif", orientation=orientation)
    np.testing.assert_array_equal(np.asarray(read_upright(path)), shown)


@pytest.mark.parametrize("orientation", STORED)
def test_jpeg_files_are_turned(orientation: int, tmp_path: Path) -> None:
    shown = np.zeros((32, 48), np.uint8)
    shown[:16, :16] = 255  # the upper left corner
    path = save_turned(shown, orientation, tmp_path / "a.jpg")
    difference = np.asarray(read_upright(path)).astype(int) - shown
    assert np.abs(difference).max() < 30 and read_header(path).size == (48, 32)


def test_what_was_turned_says_nothing_of_it(shown: np.ndarray, tmp_path: Path) -> None:
    read = read_upright(save_turned(shown, 6, tmp_path / "a.png"))
    assert 0x0112 not in read.getexif()


def test_exif_behind_the_pixels_of_a_png_file_counts(shown: np.ndarray, tmp_path: Path) -> None:
    path = save_turned(shown, 6, tmp_path / "a.png")
    chunks = _chunks(path.read_bytes())
    (exif,) = (chunk for chunk in chunks if chunk[4:8] == b"eXIf")
    chunks.remove(exif)
    path.write_bytes(path.read_bytes()[:8] + b"".join([*chunks[:-1], exif, chunks[-1]]))
    assert read_header(path).size == (8, 6)
    np.testing.assert_array_equal(np.asarray(read_upright(path)), shown)


def _chunks(content: bytes) -> list[bytes]:
    chunks, position = [], 8
    while position < len(content):
        end = position + 12 + int.from_bytes(content[position : position + 4], "big")
        chunks.append(content[position:end])
        position = end
    return chunks


@pytest.mark.parametrize("orientation", STORED)
def test_boxes_are_turned_with_their_pictures(orientation: int) -> None:
    shown = np.zeros((7, 9), np.uint8)
    shown[2:4, 1:6] = 1
    rows, columns = np.nonzero(STORED[orientation](shown))
    stored_box = [columns.min(), rows.min(), np.ptp(columns) + 1, np.ptp(rows) + 1]
    stored_size = STORED[orientation](shown).shape[1::-1]
    assert turn_box(stored_box, orientation, stored_size) == [1, 2, 5, 2]


def test_a_damaged_exif_block_is_passed_over(shown: np.ndarray, tmp_path: Path) -> None:
    Image.fromarray(shown).save(tmp_path / "a.png", exif=b"Exif\0\0MM\0*\xff\xff\xff")
    assert read_header(tmp_path / "a.png").size == (8, 6)
    np.testing.assert_array_equal(np.asarray(read_upright(tmp_path / "a.png")), shown)
