"""Captions lie where they are put, at their size and angle."""

import numpy as np
import pytest
from PIL import Image

from dyhead.visualization.text import draw_caption, font

GROUND = (200, 200, 200)


def area_of(anchor=0.5, rotation=0.0, text="a caption"):
    """Draw a caption at (200, 100), and return the (left, top, right, bottom) that it covers."""
    picture = Image.new("RGB", (400, 300), GROUND)
    draw_caption(
        picture, text, (200, 100), size=20, color=(0, 255, 0), anchor=anchor, rotation=rotation
    )
    rows, columns = np.nonzero((np.asarray(picture) != GROUND).any(axis=2))
    return columns.min(), rows.min(), columns.max() + 1, rows.max() + 1


@pytest.mark.parametrize(("anchor", "share"), [(0.0, 0.0), (0.5, 0.5), (1.0, 1.0)])
def test_the_anchor_tells_how_much_lies_left_of_the_position(anchor, share):
    left, top, right, _ = area_of(anchor)
    assert top == 100
    assert left == pytest.approx(200 - share * (right - left), abs=1)


def test_a_caption_is_as_wide_as_its_text():
    left, _, right, _ = area_of()
    assert right - left == pytest.approx(font(20).getlength("a caption"), abs=6)


def test_a_quarter_turn_swaps_width_and_height_about_the_middle():
    left, top, right, bottom = area_of()
    turned = area_of(rotation=90)
    assert turned[2] - turned[0] == pytest.approx(bottom - top, abs=2)
    assert turned[3] - turned[1] == pytest.approx(right - left, abs=2)
    assert turned[0] + turned[2] == pytest.approx(left + right, abs=2)
    assert turned[1] + turned[3] == pytest.approx(top + bottom, abs=2)
