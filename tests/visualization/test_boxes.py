"""Boxes are drawn where they are, in their colours, with labels that can be read."""

import numpy as np
import pytest
from PIL import Image

from dyhead.visualization.boxes import DrawnBox, draw_boxes, readable_zoom
from dyhead.visualization.colors import class_colors, relative_luminance, text_color

RED, BLUE = (255, 0, 0), (0, 0, 255)


def drawn(size, *boxes, zoom=1.0):
    """The picture on a grey ground, (H, W, 3), int."""
    return np.asarray(draw_boxes(Image.new("RGB", size, (128, 128, 128)), boxes, zoom), dtype=int)


def where(picture, color):
    """(left, top, right, bottom) of the pixels of a colour, the last two not included."""
    rows, columns = np.nonzero((picture == color).all(axis=2))
    return columns.min(), rows.min(), columns.max() + 1, rows.max() + 1


@pytest.mark.parametrize("zoom", [0.5, 1, 2])
def test_the_outline_lies_inside_the_box(zoom):
    picture = drawn((640, 480), DrawnBox((100, 50, 300, 250), RED), zoom=zoom)
    assert picture.shape == (480 * zoom, 640 * zoom, 3)
    assert where(picture, RED) == tuple(v * zoom for v in (100, 50, 300, 250))
    assert (picture[round(150 * zoom), round(200 * zoom)] == 128).all(), "nothing is filled"


def test_lines_grow_with_the_picture_and_are_thin_around_small_boxes():
    def line(size, side):
        picture = drawn(size, DrawnBox((10, 10, 10 + side, 10 + side), RED))
        return (picture[10 + side // 2, : 10 + side // 2] == RED).all(axis=1).sum()

    assert line((640, 480), 200) == 2
    assert line((4000, 3000), 2000) == 16
    assert line((4000, 3000), 30) == 3
    assert line((640, 480), 12) == 1


def test_boxes_beyond_the_picture_are_cut_and_others_are_left_out():
    assert where(drawn((64, 48), DrawnBox((-20, -20, 30, 30), RED)), RED) == (0, 0, 30, 30)
    nothing = [(70, 0, 90, 20), (-30, 5, -1, 20), (np.nan, 0, 9, 9), (0, 0, np.inf, 9)]
    for corners in nothing:
        assert (drawn((64, 48), DrawnBox(corners, RED)) == 128).all()
    thin = drawn((64, 48), DrawnBox((10.2, 10, 10.3, 20), RED))
    assert where(thin, RED) == (10, 10, 11, 20)


@pytest.mark.parametrize("color", class_colors(24))
@pytest.mark.parametrize("is_dashed", [False, True])
def test_a_box_is_seen_on_a_ground_of_its_own_colour(color, is_dashed):
    ground = Image.new("RGB", (320, 280), color)
    box = DrawnBox((100, 50, 300, 250), color, is_dashed=is_dashed)
    seen = (np.asarray(draw_boxes(ground, [box])) != color).any(axis=2)
    rows, columns = np.nonzero(seen)
    assert (columns.min(), rows.min(), columns.max(), rows.max()) == (99, 49, 300, 250)
    line, other = (relative_luminance(c) for c in (color, text_color(color)))
    assert (max(line, other) + 0.05) / (min(line, other) + 0.05) >= 4.5


def test_labels_of_a_crowded_picture_hide_no_small_object():
    rng = np.random.default_rng(3)
    corners = rng.uniform(0, 600, (40, 2))
    boxes = [DrawnBox((x, y, x + 14, y + 12), BLUE) for x, y in corners]
    named = [DrawnBox(box.corners, BLUE, "platelet", 0.5) for box in boxes]
    plain, labelled = drawn((640, 640), *boxes), drawn((640, 640), *named)
    changed = (plain != labelled).any(axis=2)
    assert changed.sum() > 10_000, "most have a label"
    for x, y in corners:
        assert not changed[round(y) : round(y + 12), round(x) : round(x + 14)].any()


def test_the_most_certain_is_on_top_whatever_the_order():
    sure, unsure = (DrawnBox((20, 20, 60, 60), c, score=s) for c, s in ((RED, 0.9), (BLUE, 0.4)))
    for boxes in ([sure, unsure], [unsure, sure]):
        assert where(drawn((640, 480), *boxes), RED) is not None
        outline = drawn((640, 480), *boxes)[60 - 1, 20:60]
        assert (outline == RED).all()


def test_a_label_has_the_colour_of_its_box_and_text_of_high_contrast():
    for color, text in ((BLUE, 255), ((255, 255, 0), 0)):
        picture = drawn((640, 480), DrawnBox((100, 100, 200, 200), color, "dog", 0.5))
        label = picture[80:100, 100:]
        assert where(picture, color)[1] < 88 and (label == text).all(axis=2).any()


@pytest.mark.parametrize("size", [(64, 48), (30, 300), (640, 480), (4000, 3000)])
@pytest.mark.parametrize("zoomed", [False, True])
def test_labels_are_readable_and_stay_inside_at_any_size(size, zoomed):
    zoom = readable_zoom(size) if zoomed else 1
    corners = [(0, 0, 9, 9), (size[0] - 9, size[1] - 9, *size), (0, 0, *size)]
    boxes = [DrawnBox(c, RED, "a rather long name", 0.5) for c in corners]
    plain = [DrawnBox(c, RED) for c in corners]
    picture = drawn(size, *boxes, zoom=zoom)
    text = (picture != drawn(size, *plain, zoom=zoom)).any(axis=2)
    assert picture.shape == (size[1] * zoom, size[0] * zoom, 3)
    if zoomed:
        heights = np.nonzero(text.any(axis=1))[0]
        assert len(heights) >= 11
    edges = (picture[[0, -1]] == 0).all(axis=2) & text[[0, -1]]
    assert not edges.any(), "no letter is cut off at the upper or lower edge"


def test_small_pictures_are_enlarged_by_whole_numbers():
    assert [readable_zoom(size) for size in ((64, 48), (320, 10), (319, 10), (4000, 3000))] == [
        5,
        1,
        2,
        1,
    ]


def test_dashes_are_gaps_in_the_same_outline():
    whole = drawn((640, 480), DrawnBox((100, 50, 300, 250), RED))
    dashed = drawn((640, 480), DrawnBox((100, 50, 300, 250), RED, is_dashed=True))
    is_whole, is_dashed = ((p == RED).all(axis=2) for p in (whole, dashed))
    assert is_dashed.sum() == pytest.approx(is_whole.sum() / 2, rel=0.1)
    assert not (is_dashed & ~is_whole).any()
    assert where(dashed, RED)[:2] == (100, 50)


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "CMYK"])
def test_pictures_of_any_mode_are_drawn_on_and_stay_as_they_are(mode):
    image = Image.new(mode, (50, 40))
    before = image.tobytes()
    picture = draw_boxes(image, [DrawnBox((10, 10, 40, 30), RED, "cat", 1.0)])
    assert picture.mode == "RGB" and picture.size == (50, 40)
    assert image.tobytes() == before


def test_a_name_with_line_breaks_is_one_line():
    one, other = (
        drawn((640, 480), DrawnBox((100, 100, 200, 200), RED, name)) for name in ("a b", "a\n\n b ")
    )
    assert (one == other).all()


def test_the_font_can_be_scaled():
    def label_height(scale):
        image = Image.new("RGB", (640, 480), (128, 128, 128))
        box = DrawnBox((100, 200, 600, 400), RED, "name")
        picture = np.asarray(draw_boxes(image, [box], font_scale=scale), dtype=int)
        return 200 - where(picture, RED)[1]

    assert label_height(2) == pytest.approx(2 * label_height(1), abs=3)
