"""A crop shows the box where it lies in the picture, and grey beyond the picture."""

import numpy as np
import pytest
from PIL import Image

from dyhead.data_report.crops import ROOM, draw_crop
from dyhead.visualization.colors import class_colors

ORANGE = class_colors(1)[0]


@pytest.fixture
def picture() -> Image.Image:
    """Blue, and red where the box [100, 50, 40, 30] lies."""
    pixels = np.zeros((200, 300, 3), np.uint8)
    pixels[..., 2] = 255
    pixels[50:80, 100:140] = (255, 0, 0)
    return Image.fromarray(pixels)


def is_color(picture: Image.Image, color: tuple[int, int, int]) -> np.ndarray:
    return (np.abs(np.asarray(picture).astype(int) - color) < 40).all(2)


@pytest.mark.parametrize("whole", [False, True])
def test_the_drawn_box_frames_the_object(picture: Image.Image, whole: bool) -> None:
    crop = draw_crop(picture, [[100, 50, 40, 30]], whole=whole)
    rows, columns = np.nonzero(is_color(crop, ORANGE))
    inside = np.asarray(crop)[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
    assert inside[..., 2].max() < 120, "blue within the box"
    outside = np.asarray(crop).copy()
    outside[rows.min() - 2 : rows.max() + 3, columns.min() - 2 : columns.max() + 3] = (0, 0, 255)
    assert not is_color(Image.fromarray(outside), (255, 0, 0)).any(), "red outside the box"


def test_a_crop_fits_its_room(picture: Image.Image) -> None:
    for box in ([0, 0, 300, 2], [10, 10, 1, 1], [0, 0, 300, 200], [-200, -100, 700, 500]):
        crop = draw_crop(picture, [box])
        assert crop.width <= ROOM[0] + 1 and crop.height <= ROOM[1] + 1


def test_a_box_within_the_picture_is_shown_without_what_is_beyond(picture: Image.Image) -> None:
    for box in ([0, 0, 20, 20], [100, 50, 40, 30], [290, 190, 10, 10]):
        assert not is_color(draw_crop(picture, [box]), (128, 128, 128)).any()


def test_beyond_the_picture_is_grey(picture: Image.Image) -> None:
    crop = draw_crop(picture, [[320, 50, 30, 30]])
    assert is_color(crop, (128, 128, 128)).mean() > 0.2
    assert is_color(crop, (0, 0, 255)).any() and is_color(crop, ORANGE).any()


@pytest.mark.parametrize("box", [[1e9, 5, 4, 4], [float("nan"), 0, 1, 1], [0, 0, 1e308, 1e308]])
def test_a_box_that_cannot_be_shown_leaves_the_whole_picture(
    picture: Image.Image, box: list[float]
) -> None:
    crop = draw_crop(picture, [box])
    assert abs(crop.width / crop.height - 1.5) < 0.02
    assert not is_color(crop, ORANGE).any()


def test_boxes_of_negative_sides_are_drawn_where_they_lie(picture: Image.Image) -> None:
    assert draw_crop(picture, [[140, 80, -40, -30]]) == draw_crop(picture, [[100, 50, 40, 30]])


def test_a_box_that_could_be_overlooked_has_a_ring(picture: Image.Image) -> None:
    small = is_color(draw_crop(picture, [[200, 120, 1, 1]], whole=True), ORANGE)
    rows, columns = np.nonzero(small)
    assert 20 <= np.ptp(rows) <= 28 and 20 <= np.ptp(columns) <= 28
    assert abs(columns.mean() - 200.5 * 260 / 300) < 2
