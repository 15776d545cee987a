"""Pixels of more than 8 bits keep their highest 8 bits in use, or the file is refused."""

import logging
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from stored_pictures import write_deep_png, write_deep_tiff

from dyhead.picture_files import PictureError, read_header, read_upright

RAMP = np.arange(256, dtype=np.uint32).reshape(16, 16, 1)  # all levels of 8 bits


def read(path: Path) -> np.ndarray:
    return np.asarray(read_upright(path))


@pytest.mark.parametrize("bits", [8, 12, 16])
def test_grey_of_the_usual_depths_keeps_all_256_levels(tmp_path: Path, bits: int) -> None:
    values = RAMP << (bits - 8) | (1 << (bits - 8)) - 1
    path = write_deep_png(values, tmp_path / "a.png")
    np.testing.assert_array_equal(read(path), RAMP[:, :, 0])
    assert read_header(path).is_deep


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("bits", [12, 16])
def test_colours_and_opacity_are_scaled_like_grey(tmp_path: Path, channels: int, bits: int) -> None:
    generator = np.random.default_rng(0)
    levels = np.concatenate([RAMP, generator.permuted(RAMP), generator.permuted(RAMP)], axis=2)
    values = (levels[:, :, :channels] if channels != 2 else levels[:, :, :1]) << (bits - 8)
    if channels in (2, 4):
        opacity = np.full((16, 16, 1), 0xFFFF)
        values = np.concatenate(
            [values[:, :, : channels - 1] if channels == 4 else values, opacity], 2
        )
    pixels = read(write_deep_png(values, tmp_path / "a.png"))
    np.testing.assert_array_equal(np.atleast_3d(pixels), levels[:, :, : 1 if channels < 3 else 3])
    assert read_header(tmp_path / "a.png").is_deep


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("bits", [12, 16])
def test_colours_of_tiff_files_are_scaled_alike(tmp_path: Path, order: str, bits: int) -> None:
    levels = np.concatenate([RAMP, RAMP[::-1], RAMP[:, ::-1]], axis=2)
    path = write_deep_tiff(levels << (bits - 8), tmp_path / "a.tif", order)
    np.testing.assert_array_equal(read(path), levels)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("bits", [12, 16])
def test_inks_of_tiff_files_are_shown_as_those_of_8_bits(
    tmp_path: Path, order: str, bits: int
) -> None:
    inks = np.concatenate([RAMP, RAMP[::-1], RAMP[:, ::-1], RAMP // 4], axis=2).astype(np.uint8)
    plain = Image.merge("CMYK", [Image.fromarray(inks[:, :, i]) for i in range(4)])
    path = write_deep_tiff(inks.astype(np.uint16) << (bits - 8), tmp_path / "a.tif", order)
    assert read_header(path).is_deep
    shown = read_upright(path).convert("RGB")
    np.testing.assert_array_equal(np.asarray(shown), np.asarray(plain.convert("RGB")))


@pytest.mark.parametrize("compression", ["raw", "tiff_lzw", "tiff_adobe_deflate"])
def test_grey_tiff_files_are_scaled_alike(tmp_path: Path, compression: str) -> None:
    values = (RAMP[:, :, 0] << 4).astype(np.uint16)
    Image.fromarray(values).save(tmp_path / "a.tif", compression=compression)
    np.testing.assert_array_equal(read(tmp_path / "a.tif"), RAMP[:, :, 0])


@pytest.mark.parametrize("dtype", [np.uint16, np.float32])
def test_grey_tiff_files_whose_zero_is_white_are_no_negatives(
    tmp_path: Path, dtype: type[np.generic]
) -> None:
    """As X-ray devices write them; Pillow turns those of 8 bits round, and no others."""
    values = RAMP[:, :, 0] / 255 if dtype == np.float32 else RAMP[:, :, 0] << 4
    Image.fromarray(values.astype(dtype)).save(tmp_path / "a.tif", tiffinfo={262: 0})
    np.testing.assert_array_equal(read(tmp_path / "a.tif"), 255 - RAMP[:, :, 0])


def test_the_bits_that_a_file_declares_count_before_those_in_use(tmp_path: Path) -> None:
    values = np.array([0, 40, 200, 1000]).reshape(2, 2, 1)
    found = {
        bits: read(write_deep_png(values, tmp_path / f"{bits}.png", bits)).ravel().tolist()
        for bits in (10, 12, 14, 16)
    }
    assert found[10] == [0, 10, 50, 250]
    assert found[12] == found[16] == [0, 2, 12, 62]  # 16 say no more than the file itself
    assert found[14] == [0, 0, 3, 15]


def test_the_highest_sample_value_of_a_tiff_file_declares_its_bits(tmp_path: Path) -> None:
    values = np.array([[0, 40], [200, 1000]], np.uint16)
    Image.fromarray(values).save(tmp_path / "a.tif", tiffinfo={281: 1023})
    assert read(tmp_path / "a.tif").ravel().tolist() == [0, 10, 50, 250]


def test_values_beyond_the_declared_bits_are_not_cut(tmp_path: Path) -> None:
    values = np.array([0, 4000]).reshape(1, 2, 1)
    assert read(write_deep_png(values, tmp_path / "a.png", 10)).tolist() == [[0, 250]]


def test_whole_numbers_of_32_bits_are_scaled_by_the_bits_in_use(tmp_path: Path) -> None:
    for bits, name in ((12, "a.tif"), (16, "b.tif"), (24, "c.tif")):
        Image.fromarray((RAMP[:, :, 0] << (bits - 8)).astype(np.int32)).save(tmp_path / name)
        np.testing.assert_array_equal(read(tmp_path / name), RAMP[:, :, 0])


def test_fractions_from_0_to_1_become_0_to_255(tmp_path: Path) -> None:
    Image.fromarray((RAMP[:, :, 0] / 255).astype(np.float32)).save(tmp_path / "a.tif")
    np.testing.assert_array_equal(read(tmp_path / "a.tif"), RAMP[:, :, 0])


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.array([[0.0, 1.5]], np.float32), "from 0 to 1.5, not from 0 to 1"),
        (np.array([[-0.5, 1.0]], np.float32), "from -0.5 to 1, not"),
        (np.array([[0.0, np.nan]], np.float32), "nan"),
        (np.array([[-1024, 3071]], np.int32), "from -1024 to 3071"),
    ],
)
def test_values_without_a_known_range_are_refused(
    tmp_path: Path, values: np.ndarray, message: str
) -> None:
    Image.fromarray(values).save(tmp_path / "a.tif")
    with pytest.raises(PictureError, match=message):
        read_upright(tmp_path / "a.tif")


def test_a_narrow_range_of_values_is_warned_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    thermal = np.linspace(29000, 30500, 256).reshape(16, 16, 1)
    with caplog.at_level(logging.WARNING, logger="dyhead"):
        pixels = read(write_deep_png(thermal, tmp_path / "thermal.png"))
    assert len(np.unique(pixels)) == 7
    assert "thermal.png" in caplog.text and "29000 to 30500 of 16 bits, at most 7" in caplog.text


def test_a_blank_picture_is_read_without_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = write_deep_png(np.full((4, 4, 1), 2000), tmp_path / "a.png")
    with caplog.at_level(logging.WARNING, logger="dyhead"):
        assert (read(path) == 2000 >> 4).all()
    assert not caplog.records
