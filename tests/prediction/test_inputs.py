"""Pictures of any kind become the same pixels, or one sentence says why not."""

import functools
import http.server
import io
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps
from stored_pictures import write_deep_png

from dyhead.d2.data.detection_utils import read_image
from dyhead.errors import UserError
from dyhead.prediction import read_picture

TURNS = {  # EXIF's orientation -> how the stored pixels come from those that are shown
    1: lambda shown: shown,
    2: np.fliplr,
    3: lambda shown: np.rot90(shown, 2),
    4: np.flipud,
    5: lambda shown: shown.transpose(1, 0, 2),
    6: lambda shown: np.rot90(shown, 1),
    7: lambda shown: np.rot90(shown.transpose(1, 0, 2), 2),
    8: lambda shown: np.rot90(shown, -1),
}


@pytest.fixture
def shown() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (6, 8, 3), dtype=np.uint8)


def save_turned(shown: np.ndarray, orientation: int, path: Path) -> Path:
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = np.ascontiguousarray(TURNS[orientation](shown))
    Image.fromarray(stored).save(path, exif=exif)
    return path


@pytest.mark.parametrize("orientation", TURNS)
def test_files_and_pil_images_are_turned_upright_once(
    shown: np.ndarray, orientation: int, tmp_path: Path
) -> None:
    path = save_turned(shown, orientation, tmp_path / "a.png")
    for given in (path, str(path), Image.open(path), ImageOps.exif_transpose(Image.open(path))):
        picture = read_picture(given, wanted_order="RGB")
        assert picture.size == (6, 8)
        np.testing.assert_array_equal(picture.pixels, shown)


def test_a_damaged_exif_block_is_passed_over(
    shown: np.ndarray, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    Image.fromarray(shown).save(tmp_path / "a.png", exif=b"Exif\x00\x00MM\x00*\xff\xff\xff")
    for given in (tmp_path / "a.png", Image.open(tmp_path / "a.png")):
        np.testing.assert_array_equal(read_picture(given, wanted_order="RGB").pixels, shown)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA", "P", "1", "CMYK", "YCbCr"])
def test_files_are_read_as_in_training(shown: np.ndarray, mode: str, tmp_path: Path) -> None:
    path = tmp_path / ("a.tif" if mode in ("CMYK", "YCbCr") else "a.png")
    Image.fromarray(shown).convert(mode).save(path)
    for order in ("BGR", "RGB"):
        expected = read_image(str(path), format=order)
        np.testing.assert_array_equal(read_picture(path, wanted_order=order).pixels, expected)
        opened = read_picture(Image.open(path), wanted_order=order)
        np.testing.assert_array_equal(opened.pixels, expected)


def test_deep_pictures_are_scaled_as_in_training(tmp_path: Path) -> None:
    levels = np.arange(48, dtype=np.uint16).reshape(6, 8) * 5
    levels[-1, -1] = 255
    Image.fromarray(levels << 4).save(tmp_path / "a.png")
    for given in (tmp_path / "a.png", Image.open(tmp_path / "a.png")):
        np.testing.assert_array_equal(read_picture(given).pixels, np.dstack([levels] * 3))


def test_deep_colours_of_pil_images_are_scaled_as_those_of_files(tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(0, 4096, (6, 8, 3))
    values[0, 0] = 4095
    path = write_deep_png(values, tmp_path / "a.png")
    for given in (path, Image.open(path), Image.open(io.BytesIO(path.read_bytes()))):
        pixels = read_picture(given).pixels
        np.testing.assert_array_equal(pixels[:, :, ::-1], values >> 4)


@pytest.mark.parametrize("order", ["BGR", "RGB"])
def test_every_kind_gives_the_same_pixels(shown: np.ndarray, order: str) -> None:
    wanted = shown if order == "RGB" else shown[:, :, ::-1]
    opacity = np.full((6, 8, 1), 77, dtype=np.uint8)
    bgr = shown[:, :, ::-1]
    for given, channels in (
        (Image.fromarray(shown), "BGR"),
        (shown, "RGB"),
        (bgr, "BGR"),
        (np.dstack([bgr, opacity]), "BGR"),
        (np.dstack([shown, opacity]), "RGB"),
        (torch.from_numpy(shown.copy()).permute(2, 0, 1), "RGB"),
        (torch.from_numpy(bgr.copy()).permute(2, 0, 1), "BGR"),
    ):
        picture = read_picture(given, channels, order)
        np.testing.assert_array_equal(picture.pixels, wanted)
        assert picture.file_name is None
        np.testing.assert_array_equal(np.asarray(picture.as_image()), shown)


def test_grey_is_three_equal_channels(shown: np.ndarray) -> None:
    grey = shown[:, :, 0]
    expected = np.dstack([grey] * 3)
    tensors = torch.from_numpy(grey.copy()), torch.from_numpy(grey.copy())[None]
    for given in (grey, grey[:, :, None], Image.fromarray(grey), *tensors):
        np.testing.assert_array_equal(read_picture(given).pixels, expected)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (np.zeros((4, 4, 3)), r"float64 have no agreed range.*\(255 \* x\).round\(\).astype"),
        (torch.zeros(3, 4, 4), r"float32.*\(255 \* x\).round\(\).to\(torch.uint8\)"),
        (np.zeros((4, 4), np.uint16), "uint16"),
        (np.zeros((4, 4), bool), "bool"),
        (np.zeros((3, 4, 5), np.uint8), r"shape \(3, 4, 5\): give"),
        (np.zeros((2, 4, 4, 3), np.uint8), r"2 pictures in one array: give them as a list"),
        (torch.zeros(5, 4, 3, dtype=torch.uint8), r"give \(3, height, width\)"),
        (np.zeros((0, 4, 3), np.uint8), r"shape \(0, 4, 3\)"),
        (Image.new("F", (4, 4), 1.5), r"from 1.5 to 1.5, not from 0 to 1"),
        (Image.new("I", (4, 4), -3), "from -3 to -3"),
        (3.5, "cannot be a float"),
    ],
)
def test_what_has_no_known_range_or_shape_is_refused(given: object, message: str) -> None:
    with pytest.raises(UserError, match=message):
        read_picture(given)  # type: ignore[arg-type]


def test_unreadable_files_are_named(shown: np.ndarray, tmp_path: Path) -> None:
    whole = tmp_path / "whole.png"
    Image.fromarray(shown.repeat(20, axis=0)).save(whole)
    (tmp_path / "cut.png").write_bytes(whole.read_bytes()[:-200])
    (tmp_path / "text.jpg").write_text("no picture")
    (tmp_path / "empty.jpg").write_bytes(b"")
    Image.fromarray(np.full((4, 4), 7.5, np.float32)).save(tmp_path / "float.tif")
    for name, message in {
        "cut.png": "cut.png can't be read",
        "text.jpg": r"text.jpg can't be read \(no picture of a known format\)",
        "empty.jpg": "empty.jpg can't be read",
        "float.tif": r"float.tif can't be read \(its floating-point values go from 7.5",
        "absent.png": "absent.png does not exist",
        ".": "is a folder",
    }.items():
        with pytest.raises(UserError, match=message):
            read_picture(tmp_path / name)
    with pytest.raises(UserError, match="The PIL image can't be read"):
        read_picture(Image.open(tmp_path / "cut.png"))


def test_a_file_of_several_pictures_is_read_in_part_and_said_so(
    shown: np.ndarray, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pages = [Image.fromarray(shown), Image.fromarray(255 - shown)]
    pages[0].save(tmp_path / "pages.tif", save_all=True, append_images=pages[1:])
    with caplog.at_level("WARNING", logger="dyhead.prediction.inputs"):
        np.testing.assert_array_equal(
            read_picture(tmp_path / "pages.tif", wanted_order="RGB").pixels, shown
        )
    assert "several pictures: only the first" in caplog.text


@pytest.fixture
def address(shown: np.ndarray, tmp_path: Path):
    """The address of a server of one picture and one text."""
    Image.fromarray(shown).save(tmp_path / "a.png")
    (tmp_path / "a.txt").write_text("no picture")
    handler = functools.partial(_QuietHandler, directory=str(tmp_path))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


class _QuietHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


def test_addresses_are_fetched(shown: np.ndarray, address: str) -> None:
    picture = read_picture(f"{address}/a.png", wanted_order="RGB")
    np.testing.assert_array_equal(picture.pixels, shown)
    assert picture.file_name == f"{address}/a.png"
    with pytest.raises(UserError, match=r"absent.png cannot be fetched \(HTTP Error 404"):
        read_picture(f"{address}/absent.png")
    with pytest.raises(UserError, match=r"a.txt can't be read \(no picture"):
        read_picture(f"{address}/a.txt")
